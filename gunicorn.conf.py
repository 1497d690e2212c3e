"""The file that gunicorn looks for: the settings are in the package.

Run again at each reload, as gunicorn runs this file again.
"""

from runpy import run_module

globals().update(run_module("grounded_labeler.server.gunicorn_config"))
