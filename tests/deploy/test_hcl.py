"""The reader of Terraform's files: blocks, attributes and lines, and what is no HCL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.deploy.hcl import HclError, read_text, strings, without_strings
from tools.deploy.module import named

PATH = Path("main.tf")


def test_blocks_attributes_and_lines_are_as_they_are_written() -> None:
    text = '# why\nresource "aws_vpc" "this" {\n  count = 2 # two\n\n  /* a\n  b */ tags {\n    a = "}"\n  }\n}\n'
    text += "\nlocals { x = 1 }\n"
    first, second = read_text(text, PATH).blocks
    assert (first.kind, first.labels, first.line, first.remarks) == ("resource", ("aws_vpc", "this"), 2, ("# why",))
    assert first.attributes["count"].text == "2"
    (tags,) = first.blocks
    assert (tags.line, tags.attributes["a"].text, tags.attributes["a"].literal) == (6, '"}"', "}")
    assert second.attributes["x"].text == "1"


def test_a_comment_that_an_empty_line_parts_from_a_block_is_not_its_remark() -> None:
    (block,) = read_text("# of the file\n\n# of the block\nlocals {\n}\n", PATH).blocks
    assert block.remarks == ("# of the block",)


def test_expressions_go_on_within_brackets_strings_and_heredocs() -> None:
    text = 'x = {\n  a = [1,\n    "${jsonencode({ b = "}" })}"]\n}\ny = <<-EOT\n  } { "\n  EOT\nz = "$${no}"\n'
    attributes = read_text(text, PATH).attributes
    assert attributes["x"].text.endswith("}")
    assert attributes["y"].text == '<<-EOT\n  } { "\n  EOT'
    assert (attributes["z"].text, attributes["z"].line) == ('"$${no}"', 8)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("locals {\n", "main.tf:1: the block locals is not closed"),
        ("}\n", "main.tf:1: a } without an opening {"),
        ("x = [1\n", "main.tf:2: a bracket is not closed"),
        ("x = (1]\n", "main.tf:1: a ] without an opening bracket"),
        ('x = "a\n"\n', "main.tf:1: a string is not closed"),
        ("x =\n", "main.tf:1: an expression was expected"),
        ("x = 1\nx = 2\n", "main.tf:2: x is set twice"),
        ("x = <<EOT\na\n", "main.tf:1: <<EOT is not closed"),
        ("/* a\n", "main.tf:1: a comment is not closed"),
        ("= 1\n", "main.tf:1: a name was expected"),
    ],
)
def test_what_is_no_hcl_says_where(text: str, what: str) -> None:
    with pytest.raises(HclError, match=f"^{re.escape(what)}"):
        read_text(text, PATH)


def test_names_are_found_in_code_and_in_interpolations_and_not_in_words() -> None:
    text = '"var.a ${var.b}-${join(",", [for one in local.c : "${one}-${module.d[each.key].e}"])}" == aws_eip.f[0].g'
    assert set(named(text)) == {("var", "b"), ("local", "c"), ("module", "d", "e"), ("aws_eip", "f", "g")}
    assert "var.a" not in without_strings(text)
    assert "var.a" in strings(text)
    assert "var.b" not in strings(text)
