"""The site: ``sphinx-build --fail-on-warning docs site``.

A link, or a reference of a docstring, that leads nowhere fails.
"""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import MetalArtifactReductionLib
import SimulateImplantsLib

project = "MetalArtifactReduction"
author = "The MetalArtifactReduction developers"
release = MetalArtifactReductionLib.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nitpicky = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = "Metal artifact reduction"
html_show_copyright = False
html_math_renderer = "mathml"

LICENCES = [sys.executable, str(Path(__file__).parents[1] / ".ci" / "licences.py")]
PUBLIC = (MetalArtifactReductionLib, SimulateImplantsLib)
SEVERAL = re.compile(r":param \w+, [\w, ]+:")
REFERENCE = re.compile(r":(\w+):`~?([.\w]+)`")


def found(name):
    """What a dotted name leads to, and None where it leads nowhere."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            here = import_module(".".join(parts[:end]))
            for part in parts[end:]:
                fields = getattr(here, "__dataclass_fields__", {})
                here = fields[part] if part in fields else getattr(here, part)
        except (ImportError, AttributeError, TypeError, ValueError):
            continue
        return here
    return None


def whole_name(name, module):
    """What a docstring writes, relative like an import, from the root or as users know it."""
    package = module.__name__ if hasattr(module, "__path__") else module.__package__
    try:
        tried = resolve_name(name, package) if name[0] == "." else f"{module.__name__}.{name}"
    except ImportError:  # more dots than packages
        return name
    thing = found(tried)
    for public in PUBLIC:
        last = tried.rpartition(".")[2]
        if thing is not None and last in public.__all__ and getattr(public, last) is thing:
            return f"{public.__name__}.{last}"
    return name if thing is None else tried


def write_names_out(app, what, name, thing, options, lines):
    """References are written relative to the file of the docstring, which Sphinx does not know."""
    whole = inspect.unwrap(thing) if callable(thing) else thing
    written = name if inspect.ismodule(whole) else getattr(whole, "__module__", name)
    while written not in sys.modules:  # a value is known by its class, which is in a module
        written = written.rpartition(".")[0]
    module = sys.modules[written]
    for number, line in enumerate(lines):
        line = SEVERAL.sub(lambda at: at[0].replace(", ", ","), line)  # else the first is a type
        lines[number] = REFERENCE.sub(
            lambda at: f":{at[1]}:`{at[2].lstrip('.')} <{whole_name(at[2], module)}>`", line
        )


def exists_at_least(app, env, node, content):
    """What has no entry of its own is no link, but has to exist, if only in some file of ours."""
    name = node["reftarget"]
    files = [file for file in sys.modules if file.startswith(tuple(one.__name__ for one in PUBLIC))]
    known = node["refdomain"] == "py" and any(
        found(tried) is not None for tried in (name, *(f"{file}.{name}" for file in files))
    )
    return content if known else None


def add_licences(app, page, source):
    """The table of the page, made now; a copyleft licence fails."""
    if page == "reference/licences":
        source[0] += subprocess.run(LICENCES, stdout=subprocess.PIPE, text=True, check=True).stdout


def formula(writer, node):
    """MathML, which browsers show without a script from a network."""
    block = node.tagname == "math_block"
    writer.body.append(tex2mathml(node.astext(), as_block=block))
    raise SkipNode


def setup(app):
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("source-read", add_licences)
    app.connect("autodoc-process-docstring", write_names_out)
    app.connect("missing-reference", exists_at_least)
