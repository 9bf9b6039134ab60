"""Sphinx extension: one value of _config.yml, `repository`, gives every page its repository, issue and launch buttons.

    sphinx:
      config:
        repository: https://github.com/OWNER/NAME

Empty, as it comes, there are none: the book names no address that nobody gave it. Binder builds what `.binder/` says;
Colab opens notebooks of GitHub alone, and the package must be installed there before a cell runs.
"""

from urllib.parse import urlsplit

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

BRANCH = "main"
BINDER = "https://mybinder.org"
COLAB = "https://colab.research.google.com"


def theme_options(repository: str) -> dict[str, object]:
    """What the theme is told of a repository; nothing of an empty one.

    Chapters lie in `notebooks/` of the repository, where `book/notebooks` links to: hosts do not follow links.

    Args:
        repository: Its address, `https://HOST/OWNER/NAME`.

    Returns:
        Options of sphinx-book-theme.

    Raises:
        ExtensionError: It is no such address.
    """
    if not repository:
        return {}
    parts = urlsplit(repository)
    owner, _, name = parts.path.strip("/").partition("/")
    if parts.scheme != "https" or not parts.netloc or not owner or not name or "/" in name or parts.query:
        raise ExtensionError(f"_config.yml: repository must be https://HOST/OWNER/NAME, found {repository!r}")
    launch = {"notebook_interface": "jupyterlab", "binderhub_url": BINDER}
    if parts.netloc == "github.com":
        launch["colab_url"] = COLAB
    return {
        "repository_url": f"https://{parts.netloc}/{owner}/{name.removesuffix('.git')}",
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "launch_buttons": launch,
    }


def set_options(_: Sphinx, config: Config) -> None:
    """Add them to the options that Jupyter Book made of `_config.yml`, before the theme reads these."""
    config.html_theme_options = {**config.html_theme_options, **theme_options(config.repository.strip())}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository", "", "html", str)
    app.connect("config-inited", set_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
