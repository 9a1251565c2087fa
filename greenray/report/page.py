"""The document as one HTML file that needs nothing else: no network, no fonts, plotly.js inlined once."""

from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from greenray.report.document import Chart, Document


def render(document: Document) -> str:
    """Everything that comes from outside is escaped by the template; chart data is JSON with `<` and `&` written as escapes."""
    environment = Environment(
        loader=PackageLoader("greenray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    plotly = ""
    if any(isinstance(block, Chart) for section in document.sections for block in section.blocks):
        plotly = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        document=document,
        style=Markup(resources.files("greenray.report").joinpath("templates", "page.css").read_text(encoding="utf-8")),
        plotly=Markup(plotly.replace("</script", "<\\/script")),
    )
