"""Paths become templates: parameters by form, by number, by pins; the order makes no difference."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.traffic.names.naming import NameRules, infer_parameters, names_within_budget
from loadgen.traffic.names.path_segments import segments_of, template_segment
from loadgen.traffic.names.path_tree import PathTree
from loadgen.traffic.rows.rows import METHODS
from tests.support.examples import examples


def names_of(paths: list[bytes], tree: PathTree, rules: NameRules | None = None) -> dict[str, int]:
    """The templates of some paths after inference, with the number of paths."""
    numbers = [tree.number(path) for path in paths]
    counts = np.bincount(np.array(numbers), minlength=tree.size).astype(np.int64)
    infer_parameters(tree, counts, rules or NameRules())
    now = tree.numbers()
    texts = {number: template for template, number in tree.templates()}
    found: dict[str, int] = {}
    for number in numbers:
        text = texts[int(now[number])]
        found[text] = found.get(text, 0) + 1
    return dict(sorted(found.items()))


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        (b"12345", "{id}"),
        (b"0187c2a4-5b6d-7e8f-9a0b-1c2d3e4f5a6b", "{uuid}"),
        (b"01ARZ3NDEKTSV4RRFFQ69G5FAV", "{id}"),
        (b"deadbeef01", "{id}"),
        (b"2026-11-20", "{date}"),
        (b"jane%40shop.example", "{email}"),
        (b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "{token}"),
        (b"a8Kd93jfKq02LmXz", "{token}"),
        (b"12345.json", "{id}.json"),
        (b"x" * 65, "{slug}"),
        (b"products", "products"),
        (b"v1", "v1"),
        (b"deadbeef", "deadbeef"),
        (b"search;jsessionid=A1B2", "search"),
        (b"%7Bid%7D", "%7Bid%7D"),
        (b"caf%C3%A9", "caf%C3%A9"),
        (b"\xff", "%EF%BF%BD"),
    ],
)
def test_a_segment_is_a_parameter_by_its_form(segment: bytes, expected: str) -> None:
    assert template_segment(segment) == expected


@pytest.mark.parametrize("target", [b"/a/b", b"https://shop.example:443/a/b", b"/a/b?c=d/e", b"/a/b#x", b"/a/b;s=1"])
def test_query_fragment_host_and_parameters_after_a_semicolon_are_left_out(target: bytes) -> None:
    assert segments_of(target) == ["a", "b"]


def test_repeated_parameters_have_different_names() -> None:
    assert names_of([b"/users/1/orders/2/x"], PathTree()) == {"/users/{id}/orders/{id2}/x": 1}


def test_many_alike_children_are_a_parameter() -> None:
    paths = [
        f"/products/{chr(97 + n % 26)}{chr(97 + n // 26)}-shoe/{leaf}".encode()
        for n in range(120)
        for leaf in ("", "reviews")
    ]

    assert names_of(paths, PathTree()) == {"/products/{slug}/": 120, "/products/{slug}/reviews": 120}


def test_busy_children_keep_their_text() -> None:
    paths = [f"/products/shoe-{chr(97 + n % 26)}{chr(97 + n // 26)}".encode() for n in range(120)] + [
        b"/products/sale"
    ] * 50

    assert names_of(paths, PathTree()) == {"/products/sale": 50, "/products/{slug}": 120}


def test_different_children_are_no_parameter() -> None:
    different = [
        f"/s{chr(97 + n % 26)}{chr(97 + n // 26)}/c{chr(97 + n % 7)}-{chr(97 + n % 5)}".encode() for n in range(60)
    ]

    assert len(names_of(different, PathTree())) == 60


def test_a_pinned_template_comes_first() -> None:
    tree = PathTree(["/products/{sku}"])

    assert names_of([b"/products/red-shoe?x=1", b"/products/7", b"/products/7/a"], tree) == {
        "/products/{id}/a": 1,
        "/products/{sku}": 2,
    }


def test_templates_of_another_log_fit_the_paths_that_have_them_there() -> None:
    # The busiest first, as in traffic.json: a parameter before the text that is a name of its own.
    found = ["/blog/{slug}.html", "/blog/hello.html", "/blog/", "/blog", "/a/{id}/b/{id2}", "/a/{id}", "/a/{slug}"]
    tree = PathTree(["/products/{sku}"], found)
    paths = ["/blog/x.html", "/blog/hello.html", "/blog/", "/blog", "/a/1/b/2", "/a/1", "/a/x", "/products/1/"]
    others = ["/blog/x.pdf", "/a/1/", "/a/1/b/c"]

    names = names_of([path.encode() for path in (*paths, *others)], tree)

    assert names == dict.fromkeys([*found, "/products/{sku}", "/blog/x.pdf", "/a/{id}/", "/a/{id}/b/c"], 1)


def test_a_pinned_template_matches_the_whole_urls_of_load_balancers() -> None:
    tree = PathTree(["/products/{sku}"])

    assert names_of([b"https://shop.example:443/products/red-shoe?x=1", b"/products/hat#a"], tree) == {
        "/products/{sku}": 2
    }


def test_texts_that_differ_only_in_a_number_are_one_name_even_if_they_are_busy() -> None:
    paths = [b"/products/sku-%04d" % n for n in range(5) for _ in range(50)] + [b"/products/sale"] * 50
    assert names_of(paths, PathTree()) == {"/products/{slug}": 250, "/products/sale": 50}
    few = [b"/products/sku-%04d" % n for n in range(4)] + [b"/v%d/a" % n for n in range(5)]
    assert len(names_of(few, PathTree())) == 9, "four are too few, and versions have one digit"


def test_a_million_slugs_are_one_name_and_a_small_tree() -> None:
    tree = PathTree()
    for n in range(30_000):
        tree.number(b"/p/slug-%x-z/reviews" % n)

    assert tree.size < 5_000
    assert not tree.is_approximate


def test_random_trees_stay_small_and_are_marked() -> None:
    tree = PathTree(most_nodes=5_000)
    rng = random.Random(1)
    for _ in range(20_000):
        tree.number(b"/" + b"/".join(b"s%xx" % rng.randrange(300) for _ in range(4)))

    assert tree.is_approximate
    assert len(list(tree.templates())) < 6_000


words = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f", b"7", b"x.png", b"y.png", b""])


@settings(max_examples=examples(600), deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=4), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_order_of_paths_gives_the_same_names(paths: list[list[bytes]], rng: random.Random) -> None:
    targets = [b"/" + b"/".join(path) for path in paths]
    shuffled = targets[:]
    rng.shuffle(shuffled)
    rules = NameRules(least_children=2, most_share=0.3)

    for most in (2, 3, 2_000):
        one = names_of(targets, PathTree(most_children=most), rules)
        other = names_of(shuffled, PathTree(most_children=most), rules)
        assert one == other


@pytest.mark.parametrize("most", [2, 3, 4])
def test_places_that_are_merged_early_or_late_give_the_same_tree(most: int) -> None:
    for seed in range(300):
        rng = random.Random(seed)
        words = "abcdef"[: most + 2]
        weights = [8.0] * most + [1.0] * 2  # the last texts, which merge a place, are rare and come early or late
        targets = [
            ("/" + "/".join(rng.choices(words, weights, k=rng.randrange(1, 4)))).encode() for _ in range(12 * most)
        ]
        shuffled = rng.sample(targets, len(targets))
        rules = NameRules(least_children=10**9)

        assert names_of(targets, PathTree(most_children=most), rules) == names_of(
            shuffled, PathTree(most_children=most), rules
        )


def test_the_budget_keeps_the_busiest_names_that_enough_users_sent() -> None:
    counts = np.zeros(4 * len(METHODS), np.int64)
    users = np.zeros_like(counts)
    for at, (count, people) in enumerate([(900, 100), (80, 4), (15, 9), (5, 5)]):
        counts[at * len(METHODS) + 1], users[at * len(METHODS) + 1] = count, people

    names = names_within_budget(["/a", "/b", "/c", "/d"], counts, users, NameRules())

    assert [(name.name, name.count) for name in names.kept] == [("GET /a", 900), ("GET /c", 15)]
    assert (names.other_names, names.other_count, names.rare_names) == (2, 85, 1)
    assert [int(names.index[at * len(METHODS) + 1]) for at in range(4)] == [0, 2, 1, 2]


TEMPLATES = (
    *("/", "/login", "/cart", "/cart/items/{int}", "/api/v1/users/{uuid}", "/api/v1/users/{uuid}/orders"),
    *("/api/v1/users/{uuid}/orders/{int}", "/api/v1/search", "/products/{slug}", "/products/{slug}/reviews"),
    *("/products/{slug}/reviews/{int}", "/blog/{date}/{slug}", "/files/{hex}.pdf", "/admin/reports/{int}/export"),
    *("/img/{slug}.png", "/js/app.js", "/css/main.css", "/health", "/api/v1/carts/{token}", "/help/contact"),
)


@pytest.mark.parametrize("seed", range(5))
def test_templates_are_found_again_from_paths_that_were_made_from_them(seed: int) -> None:
    rng = random.Random(seed)
    slugs = [
        "-".join(rng.choices(["red", "blue", "shoe", "hat", "coat", "new", "old", "big"], k=3)) for _ in range(400)
    ]
    tokens = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    values: dict[str, Callable[[], str]] = {
        "{int}": lambda: str(rng.randrange(10**6)),
        "{uuid}": lambda: "-".join(f"{rng.getrandbits(4 * n):0{n}x}" for n in (8, 4, 4, 4, 12)),
        "{slug}": lambda: rng.choice(slugs),
        "{date}": lambda: f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        "{hex}": lambda: f"{rng.getrandbits(64):016x}",
        "{token}": lambda: "Aa1" + "".join(rng.choices(tokens, k=29)),
    }
    truth: list[str] = []
    paths: list[bytes] = []
    for template in rng.choices(TEMPLATES, k=20_000):
        path = template
        for kind, value in values.items():
            while kind in path:
                path = path.replace(kind, value(), 1)
        truth.append(template)
        paths.append(path.encode())
    tree = PathTree()
    numbers = np.array([tree.number(path) for path in paths])
    infer_parameters(tree, np.bincount(numbers, minlength=tree.size), NameRules())
    found = tree.numbers()[numbers].tolist()

    groups = {pair: 0 for pair in zip(truth, found, strict=True)}
    right = sum(1 for t, f in groups if sum(a == t for a, _ in groups) == 1 and sum(b == f for _, b in groups) == 1)
    precision, recall = right / len(set(found)), right / len(TEMPLATES)

    assert 2 * precision * recall / (precision + recall) >= 0.85
