"""Each format of access logs, with its traps."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.traffic.formats.detect import format_of
from loadgen.traffic.formats.log_format import FormatOptions, LogFormat
from loadgen.traffic.rows.accounting import Excluded, Rejected
from loadgen.traffic.rows.rows import Fields
from loadgen.traffic.rows.timestamps import Timestamps
from tests.support.examples import examples

LOGS = Path(__file__).parents[1] / "data/logs"
DAY_2015 = 1_431_857_103_000_000  # 2015-05-17 10:05:03 UTC
COMBINED = b'203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /cart?a=1 HTTP/1.1" 200 23 "-" "curl/8"'


def reader(name: str, *lines: bytes, options: FormatOptions | None = None) -> LogFormat:
    return format_of("a.log", lines, options or FormatOptions(), Timestamps(), name)


def combined(line: bytes, **options: str) -> Fields:
    return reader("combined", options=FormatOptions(**options)).parse(line)  # type: ignore[arg-type]


def test_combined_has_start_client_agent_request_status_and_bytes() -> None:
    start, took, client, user, agent, request, status, size = combined(COMBINED)

    assert (start, client, user, agent) == (DAY_2015, b"203.0.113.7", b"-", b"curl/8")
    assert isnan(took)
    assert (request, status, size) == (b"GET /cart?a=1 HTTP/1.1", 200, 23)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [(b"17/May/2015:12:05:03 +0200", 0), (b"17/May/2015:04:35:03 -0530", 0), (b"2015-05-17T12:05:03+02:00", 0)],
)
def test_time_zones_give_the_same_moment(stamp: bytes, seconds: int) -> None:
    assert combined(COMBINED.replace(b"17/May/2015:10:05:03 +0000", stamp))[0] == DAY_2015 + seconds


def test_the_hour_that_occurs_twice_in_autumn_is_told_apart_by_its_zone() -> None:
    summer = combined(COMBINED.replace(b"17/May/2015:10:05:03 +0000", b"25/Oct/2015:02:30:00 +0200"))[0]
    winter = combined(COMBINED.replace(b"17/May/2015:10:05:03 +0000", b"25/Oct/2015:02:30:00 +0100"))[0]

    assert winter - summer == 3_600_000_000


def test_a_leap_second_is_the_next_second() -> None:
    leap = combined(COMBINED.replace(b"17/May/2015:10:05:03", b"31/Dec/2016:23:59:60"))[0]
    after = combined(COMBINED.replace(b"17/May/2015:10:05:03", b"01/Jan/2017:00:00:00"))[0]

    assert leap == after


@pytest.mark.parametrize("stamp", [b"32/May/2015:10:05:03", b"17/Mai/2015:10:05:03", b"17/May/0015:10:05:03", b"x"])
def test_an_invalid_time_stamp_is_no_request(stamp: bytes) -> None:
    with pytest.raises((ValueError, Rejected)):
        combined(COMBINED.replace(b"17/May/2015:10:05:03", stamp))


def test_escaped_quotes_stay_in_the_agent() -> None:
    assert combined(COMBINED.replace(b"curl/8", rb"a \"b\" c"))[4] == b'a "b" c'


def test_a_user_name_may_contain_spaces() -> None:
    assert combined(COMBINED.replace(b"- - [", b"- John Smith ["))[3] == b"John Smith"


def test_a_virtual_host_before_the_address_is_skipped() -> None:
    assert combined(b"www.shop.example:443 " + COMBINED)[2] == b"203.0.113.7"


def test_common_log_format_has_no_agent() -> None:
    assert combined(COMBINED.rsplit(b' "-"', 1)[0])[4:] == (b"", b"GET /cart?a=1 HTTP/1.1", 200, 23)


def test_bytes_may_be_a_dash() -> None:
    assert combined(COMBINED.replace(b" 23 ", b" - "))[7] == 0


def test_an_agent_without_its_last_quote_is_rejected() -> None:
    with pytest.raises(Rejected, match="a quote is missing"):
        combined(COMBINED[:-1])


def test_nginx_stamps_the_end_so_the_duration_is_taken_off() -> None:
    start, took, *_ = combined(COMBINED + b" 0.250", stamp="end", time_after="s")

    assert (start, took) == (DAY_2015 - 250_000, 0.25)


def test_apache_stamps_the_start_and_has_microseconds() -> None:
    assert combined(COMBINED + b" 250000", time_after="us")[:2] == (DAY_2015, 0.25)


def test_a_duration_after_the_forwarded_addresses_is_found() -> None:
    main = COMBINED + b' "198.51.100.7, 10.0.0.1" 0.250 "0.100, 0.050 : 0.100"'

    assert combined(main, stamp="end", time_after="s")[:2] == (DAY_2015 - 250_000, 0.25)
    assert combined(COMBINED + b' "-" "0.100, 0.050" rt=0.250', time_after="s")[1] == 0.25
    assert isnan(combined(COMBINED + b' "-" rt=- uct=0.100', time_after="s")[1])


@pytest.mark.parametrize(
    "prefix",
    [
        b"Oct 25 00:00:01 web1 nginx: ",
        b"<190>1 2026-10-25T00:00:01Z web1 nginx - - - ",
        b"2026-10-25T00:00:01.123456789Z stdout F ",
    ],
)
@pytest.mark.parametrize("client", [b"203.0.113.7", b"2001:db8::7", b"fe80::1%eth0"])
def test_the_prefix_of_syslog_and_of_containers_is_not_the_client(prefix: bytes, client: bytes) -> None:
    line = prefix + COMBINED.replace(b"203.0.113.7", client).replace(b"- - [", b"- John Smith [")

    assert combined(line)[2:4] == (client, b"John Smith")


@pytest.mark.parametrize("between", [b"", b"\r", b" "])
def test_two_lines_without_a_line_end_between_them_are_not_taken_as_one(between: bytes) -> None:
    with pytest.raises(Rejected, match="two lines in one"):
        combined(COMBINED + between + COMBINED)


def test_all_13_lines_of_the_alb_examples_are_accounted_for() -> None:
    lines = (LOGS / "alb_examples_vrl.log").read_bytes().splitlines()
    alb = reader("alb")
    taken, excluded = [], 0
    for line in lines:
        try:
            taken.append(alb.parse(line))
        except Excluded:
            excluded += 1

    assert (len(taken), excluded) == (12, 1)
    assert [fields[6] for fields in taken] == [200, 200, 200, 101, 101, 200, 502, 200, 400, 200, 200, 200]
    assert taken[9][2] == b"2601:6bbc:c529:9dad:6bbc:c529:9dad:6bbc"


def test_alb_starts_at_the_creation_and_ends_at_its_time() -> None:
    line = (LOGS / "alb_examples_vrl.log").read_bytes().splitlines()[0]

    start, took, client, _, agent, request, status, size = reader("alb").parse(line)

    assert start == Timestamps().iso(b"2018-07-02T22:22:48.364000Z")
    assert took == pytest.approx(11.822641)  # the gap of AWS's own example
    assert (client, agent, status, size) == (b"192.168.131.39", b"curl/7.46.0", 200, 366)
    assert request == b"GET http://www.example.com:80/ HTTP/1.1"


def test_an_old_alb_line_without_creation_time_uses_the_processing_times() -> None:
    line = (LOGS / "alb_examples_vrl.log").read_bytes().splitlines()[1]
    old = b'"'.join(line.split(b'"')[:5]).rstrip()

    start, took, *_ = reader("alb").parse(old)

    assert took == pytest.approx(0.171)
    assert start == Timestamps().iso(b"2018-07-02T22:23:00.186641Z") - 171_000


def test_an_agent_with_escaped_quotes_does_not_lose_the_alb_line() -> None:
    line = next(one for one in (LOGS / "alb_examples_vrl.log").read_bytes().splitlines() if b'"curl/' in one)
    plain = reader("alb").parse(line)
    at = line.index(b'"curl/')
    agent = line[at + 1 : line.index(b'"', at + 1)]

    assert reader("alb").parse(line.replace(agent, rb"a \"b\" c")) == (*plain[:4], rb"a \"b\" c", *plain[5:])


def test_new_fields_at_the_end_of_an_alb_line_are_ignored() -> None:
    line = (LOGS / "alb_examples_vrl.log").read_bytes().splitlines()[0]

    assert reader("alb").parse(line + b' "new" 1 -') == reader("alb").parse(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"tls 2.0 2018-12-20T02:59:40 net/a/b c 72.21.218.154:51341 172.100.100.185:443 5 2 98 246 -", "Network Load"),
        (b"2023-10-04T17:05:15.514108Z 203.0.113.1 36280 443 TLSv1.2 ECDHE", "connection log"),
    ],
)
def test_other_lines_under_the_prefix_of_a_load_balancer_are_named(line: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        reader("alb").parse(line)


def cloudfront(*extra: bytes) -> tuple[LogFormat, list[bytes]]:
    lines = (LOGS / "webreadr_log.aws").read_bytes().splitlines()
    found = format_of("a.log", lines, FormatOptions(), Timestamps())
    for line in lines[:2]:
        found.directive(line)
    return found, lines[2:]


def test_cloudfront_reads_its_columns_and_agents_that_are_encoded_twice() -> None:
    cf, lines = cloudfront()

    start, took, client, _, agent, request, status, size = cf.parse(lines[0])

    assert cf.name == "cloudfront"
    assert start == Timestamps().iso(b"2016-03-03T20:16:01Z") - 1_000
    assert (took, client, request) == (0.001, b"202.46.48.147", b"GET /")
    assert agent == b"Mozilla/5.0 (Windows NT 5.1; rv:6.0.2) Gecko/20100101 Firefox/6.0.2"
    assert (status, size) == (301, 553)


def test_cloudfront_columns_may_change_within_a_file() -> None:
    cf, _ = cloudfront()

    cf.directive(b"#Fields: cs-method sc-status date time c-ip cs-uri-stem x-forwarded-for")
    fields = cf.parse(b"GET\t000\t2016-03-03\t20:16:01\t1.1.1.1\t/a\t203.0.113.9,%202.2.2.2")

    assert (fields[2], fields[5], fields[6]) == (b"203.0.113.9", b"GET /a", 0)


def test_cloudfront_columns_without_the_client_are_named_and_no_other_column_takes_their_place() -> None:
    log, lines = cloudfront()
    log.directive(b"#Fields: date time cs-method cs-uri-stem sc-status " + b" ".join(b"x-%d" % n for n in range(30)))

    with pytest.raises(Rejected, match="#Fields does not have c-ip"):
        log.parse(lines[-1])
    with pytest.raises(UsageError, match=r"#Fields does not have c-ip$"):
        reader("", b"#Fields: date time cs-method cs-uri-stem sc-status", b"2026-10-25\t00:00:01\tGET\t/\t200")


def test_s3_lines_have_requester_key_and_total_time() -> None:
    line = (LOGS / "webreadr_s3.log").read_bytes().splitlines()[4]

    start, took, client, user, agent, request, status, size = reader("s3").parse(line)

    assert start == Timestamps().iso(b"2014-02-06T00:01:57Z")
    assert (took, client, agent) == (41.754, b"192.0.2.3", b"S3Console/0.4")
    assert (user[:4], request, status, size) == (b"79a5", b"PUT /mybucket/s3-dg.pdf HTTP/1.1", 200, 0)


def test_operations_of_s3_itself_are_excluded() -> None:
    line = (LOGS / "webreadr_s3.log").read_bytes().splitlines()[4]

    with pytest.raises(Excluded, match="S3 itself"):
        reader("s3").parse(line.replace(b"REST.PUT.OBJECT", b"BATCH.DELETE.OBJECT"))


CADDY = (
    b'{"level":"info","ts":1646861401.5241024,"request":{"remote_ip":"127.0.0.1","method":"GET","uri":"/a?b=c",'
    b'"headers":{"User-Agent":["curl/7.82.0"]}},"user_id":"","duration":0.000929675,"size":10900,"status":200}'
)
NGINX = (
    b'{"time_iso8601":"2015-05-17T12:05:03+02:00","request":"GET /cart HTTP/1.1","status":"200",'
    b'"body_bytes_sent":"23","remote_addr":"203.0.113.7","http_user_agent":"curl/8","request_time":"0.250"}'
)
GCP = (
    b'{"httpRequest":{"requestMethod":"GET","requestUrl":"https://shop.example/cart","status":200,"responseSize":"23",'
    b'"remoteIp":"203.0.113.7","userAgent":"curl/8","latency":"0.25s"},"timestamp":"2015-05-17T10:05:03Z"}'
)


def test_the_mapping_of_nginx_json_is_guessed_and_its_stamp_is_the_end() -> None:
    fields = reader("json", NGINX).parse(NGINX)

    expected = (DAY_2015 - 250_000, 0.25, b"203.0.113.7", b"", b"curl/8", b"GET /cart HTTP/1.1", 200, 23)
    assert fields == expected


def test_the_mapping_of_google_cloud_is_guessed_and_durations_have_units() -> None:
    fields = reader("json", GCP).parse(GCP)

    expected = (DAY_2015, 0.25, b"203.0.113.7", b"", b"curl/8", b"GET https://shop.example/cart", 200, 23)
    assert fields == expected


def test_the_mapping_of_caddy_is_guessed() -> None:
    start, took, client, _, agent, request, status, size = reader("json", CADDY).parse(CADDY)

    # Caddy writes the line when the request has ended: 1646861401.524102 s less the 929.675 µs of the request.
    assert start == 1_646_861_401_523_172
    assert took == pytest.approx(0.000929675)
    assert (client, agent, request, status, size) == (b"127.0.0.1", b"curl/7.82.0", b"GET /a?b=c", 200, 10900)


def test_a_member_can_be_mapped_by_hand() -> None:
    options = FormatOptions(mapping=(("time", "when"), ("url", "x.y"), ("method", "m"), ("took", "d:ms")))
    line = b'{"when":1431857103000,"x":{"y":"/a"},"m":"GET","d":"100, 150"}'

    assert reader("json", options=options).parse(line)[:2] == (DAY_2015, 0.25)


def test_a_url_that_was_mapped_by_hand_comes_before_a_guessed_request() -> None:
    line = b'{"ts":1431857103,"request":"GET /proxy HTTP/1.1","origin":"/cart","method":"GET"}'
    options = FormatOptions(mapping=(("url", "origin"),))

    assert reader("json", line, options=options).parse(line)[5] == b"GET /cart"
    assert reader("json", line).parse(line)[5] == b"GET /proxy HTTP/1.1"


def test_the_unit_of_a_part_of_a_duration_is_for_that_part_alone() -> None:
    line = b'{"ts":1431857103,"request":"GET / HTTP/1.1","request_time":"250ms, 1"}'

    assert reader("json", line).parse(line)[1] == 1.25


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.1, 0.2 : 0.3", 0.6),  # nginx: two servers, then two more after an internal redirect
        ("-, 0.2", 0.2),
        ("1m2.5s", 62.5),
        ("1h0m0.25s", 3600.25),
        ("350µs", 0.00035),
        ("12.5ms", 0.0125),
    ],
)
def test_durations_of_several_servers_and_of_go_have_their_sum(text: str, seconds: float) -> None:
    line = f'{{"ts":1431857103,"method":"GET","url":"/","took":"{text}"}}'.encode()
    options = FormatOptions(mapping=(("took", "took:s"),))

    assert reader("json", line, options=options).parse(line)[1] == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("took", "seconds"),
    [
        ('"latency":12345678,"latency_human":"12.345678ms"', 0.012345678),  # Go's Echo: ns
        ('"duration":12,"response_flags":"-"', 0.012),  # Envoy: ms
        ('"duration":58.33,"controller":"jobs","action":"index"', 0.05833),  # Rails with lograge: ms
        ('"duration":0.25', 0.25),
        ('"duration":"0.25"', 0.25),
        ('"latency":"250ms"', 0.25),
        ('"duration":250', None),  # ms, µs or ns: not certain
        ('"latency":"250"', None),
        ('"duration":58.33', None),  # a median of 58 s is none of a server
    ],
)
def test_the_unit_of_a_duration_is_that_of_its_server_or_none_is_guessed(took: str, seconds: float | None) -> None:
    line = f'{{"ts":1431857103,"method":"GET","url":"/",{took}}}'.encode()
    found = reader("json", line).parse(line)[1]

    assert isnan(found) if seconds is None else found == pytest.approx(seconds, rel=1e-9)
    by_hand = FormatOptions(mapping=(("took", "duration:ms"),))
    if '"duration":250' in took:
        assert reader("json", line, options=by_hand).parse(line)[1] == 0.25


def test_echo_and_lograge_stamp_the_end_and_envoy_the_start() -> None:
    def start_of(members: str) -> int:
        line = f'{{"time":"2015-05-17T10:05:03Z","method":"GET","url":"/",{members}}}'.encode()
        return reader("json", line).parse(line)[0]

    assert start_of('"latency":250000000,"latency_human":"250ms"') == DAY_2015 - 250_000
    assert start_of('"duration":250.0,"controller":"jobs","action":"index"') == DAY_2015 - 250_000
    assert start_of('"duration":250,"response_flags":"-"') == DAY_2015


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("203.0.113.7:40312", b"203.0.113.7"),
        ("[2001:db8::7]:40312", b"2001:db8::7"),
        ("203.0.113.7, 10.0.0.1", b"203.0.113.7"),
        ("2001:db8::7", b"2001:db8::7"),
        ("host.example", b"host.example"),
        ("", b""),
    ],
)
def test_the_client_of_a_json_line_is_its_first_address_without_the_port(text: str, client: bytes) -> None:
    line = f'{{"ts":1431857103,"method":"GET","url":"/","client_ip":"{text}"}}'.encode()

    assert reader("json", line).parse(line)[2] == client


def test_a_time_beside_the_request_time_of_nginx_is_the_end_under_any_name() -> None:
    line = NGINX.replace(b"time_iso8601", b"time")

    assert reader("json", line).parse(line)[:2] == (DAY_2015 - 250_000, 0.25)


def test_an_empty_request_of_nginx_is_excluded_and_a_log_without_methods_is_rejected() -> None:
    with pytest.raises(Excluded, match="no HTTP request"):
        reader("json", NGINX).parse(NGINX.replace(b"GET /cart HTTP/1.1", b""))
    line = b'{"ts":1431857103,"url":"/cart","status":200}'
    with pytest.raises(Rejected, match="the member with the method is missing"):
        reader("json", line).parse(line)


ECS = (
    b'{"@timestamp":"2015-05-17T10:05:03Z","url":{"path":"/cart"},"http":{"request":{"method":"GET"}},'
    b'"user_agent":{"original":"curl/8"},"agent":{"type":"filebeat"}}'
)


def test_an_object_is_no_value_of_a_field_and_the_missing_members_are_named() -> None:
    with pytest.raises(UsageError, match="no member is known for method and url") as caught:
        reader("", ECS)
    assert caught.value.hint == "name the members: --field method=MEMBER --field url=MEMBER"


@pytest.mark.parametrize(
    "line", [ECS, ECS.replace(b'"http":{"request":{"method":"GET"}}', b'"http.request.method":"GET"')]
)
def test_a_member_with_points_in_its_name_is_found_as_a_path_and_as_a_name(line: bytes) -> None:
    mapping = (("url", "url.path"), ("method", "http.request.method"), ("agent", "user_agent.original"))
    fields = reader("", line, options=FormatOptions(mapping=mapping)).parse(line)

    assert (fields[0], fields[4], fields[5]) == (DAY_2015, b"curl/8", b"GET /cart")


def test_cloudfront_2_in_json_is_read_by_its_names() -> None:
    line = (
        b'{"date":"2015-05-17","time":"10:05:03","c-ip":"203.0.113.7","cs-method":"GET","cs-uri-stem":"/cart",'
        b'"cs-uri-query":"a=1","sc-status":"200","sc-bytes":"23","cs(User-Agent)":"curl/8","time-taken":"0.25"}'
    )
    fields = reader("json", line).parse(line)

    expected = (DAY_2015 - 250_000, 0.25, b"203.0.113.7", b"", b"curl/8", b"GET /cart?a=1", 200, 23)
    assert fields == expected


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"a":1}', b"[" * 100_000])
def test_other_json_is_rejected(line: bytes) -> None:
    with pytest.raises((Rejected, ValueError)):
        reader("json", NGINX).parse(line)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("alb_examples_vrl.log", "alb"),
        ("webreadr_combined_log.clf", "combined"),
        ("webreadr_log.aws", "cloudfront"),
        ("webreadr_s3.log", "s3"),
    ],
)
def test_the_format_of_a_file_is_found(file: str, name: str) -> None:
    lines = (LOGS / file).read_bytes().splitlines()

    assert format_of(file, lines, FormatOptions(), Timestamps()).name == name


def test_an_unknown_format_is_an_error_with_the_outline_of_a_line() -> None:
    with pytest.raises(UsageError, match=r"a\.log: unknown log format; .* aaaaa aaaaaa 000") as error:
        format_of("a.log", [b"hello secret 123"], FormatOptions(), Timestamps())

    assert "secret" not in error.value.message


def test_two_formats_in_one_file_are_an_error() -> None:
    alb = (LOGS / "alb_examples_vrl.log").read_bytes().splitlines()

    with pytest.raises(UsageError, match=r"two formats, alb \(13 lines\) and combined \(5 lines\)"):
        format_of("a.log", alb + [COMBINED] * 5, FormatOptions(), Timestamps())


def test_an_unknown_name_of_a_format_is_an_error() -> None:
    with pytest.raises(UsageError, match='unknown format "iis"'):
        reader("iis")


SAMPLES = {
    "alb": (LOGS / "alb_examples_vrl.log").read_bytes().splitlines(),
    "combined": [COMBINED, COMBINED.replace(b"curl/8", rb"a \"b\" c")],
    "cloudfront": (LOGS / "webreadr_log.aws").read_bytes().splitlines()[2:],
    "s3": (LOGS / "webreadr_s3.log").read_bytes().splitlines(),
    "json": [NGINX, GCP, CADDY],
}


@settings(max_examples=examples(1600), deadline=None)
@given(st.data())
def test_a_damaged_line_is_taken_excluded_or_rejected_and_never_another_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    line = bytearray(data.draw(st.sampled_from(SAMPLES[name])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(line)))
        length = data.draw(st.integers(0, 12))
        line[at : at + length] = data.draw(
            st.sampled_from([b'"', b"-", b" ", b"\\", b"\t", b"[", b"9" * 30, b"\xff", b""])
        )
    found = reader(name, SAMPLES[name][0])

    try:
        fields = found.parse(bytes(line))
    except (Rejected, Excluded, ValueError):
        return

    assert len(fields) == 8
