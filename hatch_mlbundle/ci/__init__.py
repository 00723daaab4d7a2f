"""What the GitHub action and the GitLab template in `ci/` run: check artifacts, and tell it where the forge shows it."""
