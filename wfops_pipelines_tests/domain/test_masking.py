"""What is hidden in every rendering, and what stays readable (§8)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.masking import MASKED, is_secret_key, mask, mask_text
from wfops_pipelines_tests.domain.workflow_strategies import any_text, json_values, law


@pytest.mark.parametrize("key", [
    "password", "Password1", "dbPassword", "token", "accessToken", "access_token", "bot-token", "secret", "client_secret",
    "apiKey", "X-Api-Key", "APIKEY", "api_key", "Authorization", "Proxy-Authorization", "bearer", "private_key",
    "aws_secret_access_key", "accessKey", "connectionString", "Set-Cookie", "signingKey", "passphrase", "jwt",
    "pass", "smtpPass", "pw", "hmacKey", "credentials", "Passwort", "contraseña", "пароль", "ｐａｓｓｗｏｒｄ", "pass\u200bword",
])
def test_a_key_of_this_name_holds_a_secret(key: str) -> None:
    assert is_secret_key(key)
    assert mask("hunter2", key) == MASKED


@pytest.mark.parametrize("key", [
    "authentication", "nodeCredentialType", "genericAuthType", "tokenUrl", "maxTokens", "nextPageToken", "tokenCount",
    "passwordField", "secretName", "apiKeyName", "accessKeyId", "passThrough", "compass", "key", "keys", "sortKey", "primaryKey", "path", "url", "", "名前",
])
def test_a_key_of_this_name_holds_no_secret(key: str) -> None:
    assert not is_secret_key(key)
    assert mask("hunter2", key) == "hunter2"


FAKE_SECRETS = {
    "JWT": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJl",
    "OpenAI": "sk-" + "proj-abcdefghij0123456789",
    "Stripe": "sk_" + "live_abcdefgh12345678",
    "GitHub": "ghp_" + "abcdefghijklmnopqrst0123456789abcdef",
    "Slack": "xoxb-" + "1234567890-abcdefghij",
    "AWS": "AKIA" + "ABCDEFGHIJKLMNOP",
    "Google": "AIza" + "SyA0123456789abcdefghijklmnopqrstuv",
    "SendGrid": "SG." + "abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789",
    "Telegram": "123456789:" + "AAabcdefghijklmnopqrstuvwxyz0123456",
}


@pytest.mark.parametrize("secret", FAKE_SECRETS.values(), ids=FAKE_SECRETS)
@pytest.mark.parametrize("text", ["{}", "const k = {};", "=https://x.example.com/?a={}&b=2", '{{"h": "{}"}}'])
def test_a_secret_is_known_by_its_shape_wherever_it_stands(secret: str, text: str) -> None:
    shown = mask(text.format(secret), "notes")
    assert secret not in shown
    assert shown == text.format(MASKED)


@pytest.mark.parametrize(("text", "shown"), [
    ("Authorization: Bearer abc12345xyz", f"Authorization: Bearer {MASKED}"),
    ("curl -H 'X-Api-Key: abc12345xyz'", f"curl -H 'X-Api-Key: {MASKED}'"),
    ("https://user:pa55@example.com/x", f"https://{MASKED}@example.com/x"),
    ("https://example.com/?page=2&api_key=abcd1234&z=1", f"https://example.com/?page=2&api_key={MASKED}&z=1"),
    ("https://hooks.slack.com/services/T00/B00/xyz12345", f"https://hooks.slack.com/services/{MASKED}"),
    ('const apiKey = "hunter2"; go()', f'const apiKey = "{MASKED}"; go()'),
    (r'{\"password\": \"hunter2\"}', rf'{{\"password\": \"{MASKED}\"}}'),
    ('{"name": "Authorization", "value": "hunter2"}', f'{{"name": "Authorization", "value": "{MASKED}"}}'),
    ("DB_PASSWORD=hunter2 node x.js", f"DB_PASSWORD={MASKED} node x.js"),
])
def test_of_a_text_only_the_secret_is_hidden(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize("text", [
    "Basic understanding of bearer tokens is enough", "token: string; password: string", "if (password === 'x') {}",
    "https://example.com:8080/a@b", "return items.map(i => i.json.token)", "={{ $json.password }}",
    '{"Authorization": "Bearer {{ $env.TOKEN }}"}', "const token = `${config.token}`", "2024-01-01T00:00:00.000Z",
])
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("text", ["", "={{ $json.token }}", "=Bearer {{ $env.TOKEN }}", "={{ $('Get key').item.json.k }}",
                                  "={{ $json['password'] }}", "Bearer ${token}"])
def test_an_expression_that_only_refers_to_a_secret_is_none(text: str) -> None:
    assert mask(text, "password") == text


@pytest.mark.parametrize("text", ["=Bearer hunter2{{ $json.x }}", "={{ 'hunter2' }}", "={{ $json['password'] || 'hunter2' }}",
                                  '={{ $env.X ? "hunter2" : `hunter2` }}', "={{ btoa('hunter2') }}"])
def test_an_expression_that_embeds_a_secret_loses_it(text: str) -> None:
    assert "hunter2" not in mask(text, "password")


RANDOM = "Zq7Kp2Lm9Xv4" + "Tb8Rw3Ns"


@pytest.mark.parametrize("parameters", [
    {"key": RANDOM}, {"auth": RANDOM}, {"signature": RANDOM}, {"code": RANDOM},
    {"parameters": [{"name": "key", "value": RANDOM}]}, {"parameters": [{"name": " authorization ", "value": RANDOM}]},
    {"values": [{"name": "password", "stringValue": RANDOM}]}, {"pairs": [{"keyName": "token", "keyValue": RANDOM}]},
    {"columns": [{"column": "password", "value": RANDOM}]}, {"secret": {"mode": RANDOM}}, {"secret": {"name": RANDOM}},
    {"leftValue": "={{ $json.headers['x-api-key'] }}", "rightValue": RANDOM}, {"value1": "={{ $json.password }}", "value2": RANDOM},
], ids=str)
def test_what_stands_beside_a_value_says_that_it_is_a_secret(parameters: Any) -> None:
    assert RANDOM not in str(mask({"parameters": parameters}))


def test_names_that_may_be_either_are_decided_by_the_value() -> None:
    value = {"key": "customer", "code": "return items;", "hash": "main", "auth": "headerAuth", "session": "chat-history"}
    assert mask(value) == value


@pytest.mark.parametrize("text", [
    '{"password": "ab\\"%s"}', '{"a": "{\\"b\\": \\"{\\\\\\"password\\\\\\": \\\\\\"%s\\\\\\"}\\"}"}', '{"tokens": {"apiKey": ["%s"]}}',
    '[{"value": "%s", "name": "password"}]', '{"apiKey": {"__rl": true, "value": "%s"}}', 'x\n{"secrets": {"a": {"b": "%s"}}}\ny',
    '{"jsCode": "const apiKey = \\"%s\\""}', '{"script": "const secret =\\n  \\"%s\\";"}',
    "req.setHeader('Authorization', '%s')", "form.append('api_key', '%s')", "cfg['password'] = '%s'", "if (x.password === '%s') {}",
    "const token: string = '%s'", "const token = process.env.TOKEN || '%s'", "os.environ.get('API_TOKEN', '%s')",
    "const h = 'Bearer ' + '%s'", "btoa('user:%s')", 'password = """%s"""', "auth: { user: 'a', pass: '%s' }", 'const KEY = "%s"',
    "curl -u admin:%s https://x", "curl -H 'Authorization: token %s'", "mysql --password=%s -u x", "x --api-key %s", "sshpass -p %s ssh x",
    "ALTER USER a WITH PASSWORD '%s'", "CREATE USER a IDENTIFIED BY '%s'", "<wsse:Password Type='t'>%s</wsse:Password>",
    "grant_type=x&client_secret=%s", "password=%s&user=1", "User Id=z;Password=%s;", "host=x user=y password=%s",
    "AccountName=a;AccountKey=%s==;", "https://x/#access_token=%s", "https://x/?r=https%%3A%%2F%%2Fy%%3Ftoken%%3D%s", "https://x/?code=%s",
    "https://x/?pass=%s", "https://%s@example.com/", "postgres://u:a@%s@db/x", "https://hooks.zapier.com/hooks/catch/1/%s",
    "https://hook.eu1.make.com/%s",
])
def test_a_secret_is_found_in_whatever_way_it_is_written(text: str) -> None:
    assert RANDOM not in mask_text(text % RANDOM)
    assert MASKED in mask_text(text % RANDOM)


def test_a_secret_number_in_a_json_text_is_hidden() -> None:
    assert mask_text('{"password": 84739201748, "page": 84739201748}') == '{"password": ‹masked›, "page": 84739201748}'


def test_a_json_text_full_of_secrets_is_hidden_whole() -> None:
    text = json.dumps({"secrets": [f"secret{number}" for number in range(20_000)]}, indent=1)
    assert set(mask_text(text).split("\n")) == {MASKED}
    assert mask_text(text).count("\n") == text.count("\n")


@pytest.mark.parametrize("text", [
    "const fields = ['password', 'username', 'email']", "token = config.token", "password = getPassword1()", "let token = response2",
    "tls: { privateKey: outputPrivateKey, ca }", "https://example.com/?page=20261121T0000&sort=key", "PASSWORD reset within 24h",
    '{"key": "order-17", "hash": "a"}', "https://sub.example.com:8443/@team",
])
def test_code_that_only_speaks_of_secrets_stays_readable(text: str) -> None:
    assert mask_text(text) == text


def test_a_header_is_hidden_by_its_name() -> None:
    headers = {"parameters": [{"name": "X-Api-Key", "value": "hunter2"}, {"name": "Accept", "value": "text/plain"}]}
    assert mask(headers) == {"parameters": [{"name": "X-Api-Key", "value": MASKED}, {"name": "Accept", "value": "text/plain"}]}


def test_everything_below_a_secret_key_is_hidden_but_what_describes_it() -> None:
    value = {"__rl": True, "mode": "id", "value": "hunter2", "list": ["a", 7, None, False]}
    assert mask(value, "token") == {"__rl": True, "mode": "id", "value": MASKED, "list": [MASKED, MASKED, None, False]}


def test_a_private_key_is_hidden_line_by_line() -> None:
    key = "-----BEGIN " + "RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----"
    assert mask_text(f"a\n{key}\nb") == "a\n" + f"{MASKED}\n" * 4 + "b"


@law
@given(json_values, any_text)
def test_masking_twice_is_masking_once_and_never_fails(value: Any, key: str) -> None:
    once = mask(value, key)
    assert mask(once, key) == once


@law
@given(st.lists(st.sampled_from(["password", "token", "Bearer ", "=", ":", '"', "'", "\n", "{{", "}}", "sk-", "a1b2c3d4e5f6g7h8",
                                 "-----BEGIN PRIVATE KEY-----", "https://", "@", "?api_key=", "\\", " ", "${", "}"]), max_size=30))
def test_the_number_of_lines_stays(parts: list[str]) -> None:
    text = "".join(parts)
    assert mask_text(text).count("\n") == text.count("\n")


def test_long_texts_that_almost_match_are_done_in_no_time() -> None:
    for text in ("password" * 20_000, "https://" + "a:" * 50_000, '"name": ' * 20_000, "-----BEGIN PRIVATE KEY-----" * 2_000,
                 "Bearer " * 30_000, "eyJ" + "a." * 50_000, "token = '" * 10_000, "A_" * 50_000 + "=", "{{" * 50_000, " " * 100_000):
        mask(text, "password")
        mask(text)
