"""Git repositories: plain remotes through the git command, and GitHub through its API."""
