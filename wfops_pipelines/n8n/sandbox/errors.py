"""What the sandbox answers when it does not do what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """An answer of n8n's API other than 2xx: ``{"message": …}``, or another body."""

    def __init__(self, status: int, message: str, *, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Mapping[str, Any] = body if body is not None else {"message": message}


class HtmlError(Exception):
    """A page of the web framework under n8n: what fails before the API sees the request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def page(self) -> str:
        """The page as Express makes it."""
        return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n</head>\n'
                f"<body>\n<pre>{self}</pre>\n</body>\n</html>\n")


def not_found() -> ApiError:
    """Nothing there."""
    return ApiError(404, "Not Found")


def unlicensed(feature: str) -> ApiError:
    """What the Community Edition says of a paid feature."""
    return ApiError(403, f"Your license does not allow for {feature}. To enable {feature}, please upgrade to a license "
                         "that supports this feature.")
