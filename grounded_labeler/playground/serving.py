"""Puts the page behind its door and serves it until it is told to stop."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from grounded_labeler.errors import SettingsError
from grounded_labeler.playground.models import Models
from grounded_labeler.playground.pictures import Pictures
from grounded_labeler.playground.web import Door, Login

_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class Address:
    """Where the page is served, and the login that it wants, if any."""

    host: str
    port: int
    login: Login | None = None

    @property
    def url(self) -> str:
        """What to open in a browser on this machine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def serve_page(models: Models, pictures: Pictures, address: Address, max_bytes: int) -> None:
    """Serve the page until a signal comes.

    Files of up to `max_bytes` may be uploaded; they and what is drawn lie in a folder of this
    process alone, which is removed. Raises SettingsError where the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="grounded-labeler-playground-") as folder:
        prepare_gradio(Path(folder))
        # Here, and not above: `--help` must not wait for it.
        import uvicorn  # noqa: PLC0415

        app = Door(page_app(models, pictures, max_bytes, Path(folder)), address.host, address.login)
        config = uvicorn.Config(
            app, host=address.host, port=address.port, log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=2, ws="none",
        )  # fmt: skip
        try:
            uvicorn.Server(config).run()
        except SystemExit as error:  # uvicorn's, which has logged why
            raise SettingsError(
                f"Port {address.port} of {address.host} cannot be listened on: choose another, "
                "--port."
            ) from error


def prepare_gradio(folder: Path) -> None:
    """Set what Gradio reads from the environment when it is imported; `folder` is for its files."""
    os.environ.update({
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_RUN_HISTORY": "False",
        "GRADIO_SSR_MODE": "False",
        "GRADIO_SHARE": "False",
        "GRADIO_ALLOWED_PATHS": "",
        "GRADIO_MCP_SERVER": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    })  # fmt: skip


def page_app(models: Models, pictures: Pictures, max_bytes: int, folder: Path) -> ASGIApp:
    """Return the application with the page; call `prepare_gradio` before, with the same folder."""
    import gradio as gr  # noqa: PLC0415 - after the environment is set
    from fastapi import FastAPI  # noqa: PLC0415

    from grounded_labeler.playground.actions import Actions  # noqa: PLC0415
    from grounded_labeler.playground.page import CSS, guard_files, make_page  # noqa: PLC0415

    blocks = make_page(Actions(models, pictures, models.offer()))
    theme = gr.themes.Default(font=list(_FONTS), font_mono=list(_MONO))
    app: ASGIApp = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="/", theme=theme,
        css=CSS, show_error=False, allowed_paths=[], run_history=False, footer_links=[],
        max_file_size=max_bytes, ssr_mode=False, mcp_server=False, pwa=False,
        enable_monitoring=False,
    )  # fmt: skip
    guard_files(blocks, folder)
    return app
