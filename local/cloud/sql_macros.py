"""The SQL behind the functions of KQL, on an engine whose clock counts ticks (see `local.cloud.kql`).

The macros `tick_…` take or give an instant of the engine, `span_…` a duration, `any_…` a value of any type,
where DuckDB folds away the branches that its type rules out.
"""

from local.cloud.ticks import DAY, HOUR, MINUTE, SECOND, UNIX_EPOCH

_UNIX_MICROSECONDS = UNIX_EPOCH // 10

SETUP = rf"""
CREATE MACRO tick_clock(x) AS make_timestamp(epoch_us(x) // 10 - {_UNIX_MICROSECONDS});
CREATE MACRO clock_ticks(x) AS make_timestamp(epoch_us(x) * 10 + {UNIX_EPOCH});
CREATE MACRO tick_digits(x) AS lpad(CAST(epoch_us(x) % {SECOND} AS VARCHAR), 7, '0');
CREATE MACRO tick_seconds(x) AS strftime(tick_clock(x), '%Y-%m-%dT%H:%M:%S');

-- As tostring() writes it, and as the query service sends it.
CREATE MACRO tick_text(x) AS tick_seconds(x) || '.' || tick_digits(x) || 'Z';
CREATE MACRO tick_wire(x) AS tick_seconds(x)
    || CASE epoch_us(x) % {SECOND} WHEN 0 THEN '' ELSE '.' || rtrim(tick_digits(x), '0') END || 'Z';

CREATE MACRO two_digits(n) AS lpad(CAST(n AS VARCHAR), 2, '0');
CREATE MACRO span_of(n) AS
    CASE WHEN n >= {DAY} THEN CAST(n // {DAY} AS VARCHAR) || '.' ELSE '' END
    || two_digits(n // {HOUR} % 24) || ':' || two_digits(n // {MINUTE} % 60)
    || ':' || two_digits(n // {SECOND} % 60)
    || CASE n % {SECOND} WHEN 0 THEN '' ELSE '.' || lpad(CAST(n % {SECOND} AS VARCHAR), 7, '0') END;
CREATE MACRO span_text(x) AS CASE WHEN epoch_us(x) < 0 THEN '-' ELSE '' END || span_of(abs(epoch_us(x)));

-- Up to six digits of a fraction are DuckDB's to read; the seventh is added.
CREATE MACRO tick_parse(t) AS make_timestamp(
    epoch_us(TRY_CAST(regexp_replace(t, '(\.\d{{6}})\d+', '\1') AS TIMESTAMPTZ) AT TIME ZONE 'UTC') * 10
    + {UNIX_EPOCH} + coalesce(TRY_CAST(regexp_extract(t, '\.\d{{6}}(\d)', 1) AS BIGINT), 0));
CREATE MACRO part_of(t, pattern) AS coalesce(TRY_CAST(regexp_extract(t, pattern, 1) AS BIGINT), 0);
CREATE MACRO span_parse(t) AS CASE
    WHEN regexp_full_match(t, '-?(\d+\.)?\d\d?:\d\d(:\d\d(\.\d{{1,7}})?)?')
    THEN to_microseconds(CASE WHEN t LIKE '-%' THEN -1 ELSE 1 END * (
        part_of(t, '^-?(\d+)\.') * {DAY} + part_of(t, '(\d\d?):\d\d') * {HOUR}
        + part_of(t, '\d:(\d\d)') * {MINUTE} + part_of(t, ':\d\d:(\d\d)') * {SECOND}
        + part_of(rpad(regexp_extract(t, ':\d\d\.(\d+)$', 1), 7, '0'), '(\d+)')))
    END;

-- As the query service sends them: names for what JSON cannot say, no point in whole reals, no idle zeros.
CREATE MACRO real_wire(x) AS CAST(CASE WHEN isnan(x) THEN '"NaN"'
    WHEN isinf(x) THEN CASE WHEN x > 0 THEN '"Infinity"' ELSE '"-Infinity"' END
    WHEN x = trunc(x) AND abs(x) < 1e15 THEN CAST(CAST(x AS BIGINT) AS VARCHAR)
    ELSE CAST(x AS VARCHAR) END AS JSON);
CREATE MACRO decimal_wire(x) AS rtrim(regexp_replace(CAST(x AS VARCHAR), '(\.\d*?)0+$', '\1'), '.');
CREATE MACRO dynamic_wire(x) AS CASE WHEN x IS NOT NULL THEN
    CASE json_type(to_json(x)) WHEN 'VARCHAR' THEN to_json(x) ->> '$'
    ELSE CAST(to_json(x) AS VARCHAR) END END;

CREATE MACRO any_text(x, other) AS CASE typeof(x)
    WHEN 'TIMESTAMP' THEN tick_text(TRY_CAST(x AS TIMESTAMP))
    WHEN 'INTERVAL' THEN span_text(TRY_CAST(x AS INTERVAL)) ELSE other END;
CREATE MACRO any_number(x, other) AS CASE typeof(x)
    WHEN 'TIMESTAMP' THEN epoch_us(TRY_CAST(x AS TIMESTAMP))
    WHEN 'INTERVAL' THEN epoch_us(TRY_CAST(x AS INTERVAL)) ELSE other END;
CREATE MACRO any_element(x) AS CASE WHEN x IS NOT NULL THEN CASE typeof(x)
    WHEN 'TIMESTAMP' THEN to_json(tick_text(TRY_CAST(x AS TIMESTAMP)))
    WHEN 'INTERVAL' THEN to_json(span_text(TRY_CAST(x AS INTERVAL))) ELSE to_json(x) END END;
CREATE MACRO any_instant(x) AS CASE typeof(x)
    WHEN 'TIMESTAMP' THEN TRY_CAST(x AS TIMESTAMP)
    WHEN 'JSON' THEN tick_parse(TRY_CAST(x AS JSON) ->> '$') ELSE tick_parse(CAST(x AS VARCHAR)) END;
CREATE MACRO any_span(x) AS CASE typeof(x)
    WHEN 'INTERVAL' THEN TRY_CAST(x AS INTERVAL)
    WHEN 'BIGINT' THEN to_microseconds(TRY_CAST(x AS BIGINT))
    WHEN 'JSON' THEN span_parse(TRY_CAST(x AS JSON) ->> '$') ELSE span_parse(CAST(x AS VARCHAR)) END;
CREATE MACRO any_size(x) AS coalesce(CASE typeof(x)
    WHEN 'VARCHAR' THEN strlen(CAST(x AS VARCHAR)) WHEN 'JSON' THEN strlen(CAST(x AS VARCHAR))
    WHEN 'UUID' THEN 16 WHEN 'INTEGER' THEN 4 WHEN 'BOOLEAN' THEN 1 ELSE 8 END, 0);

-- What is left over within a step is taken off, which keeps an instant one and a duration one.
CREATE MACRO any_bin(x, step) AS
    x - to_microseconds((epoch_us(x) % epoch_us(step) + epoch_us(step)) % epoch_us(step));
CREATE MACRO any_bin_at(x, step, point) AS x - to_microseconds(
    ((epoch_us(x) - epoch_us(point)) % epoch_us(step) + epoch_us(step)) % epoch_us(step));
"""
"""Macros that the database needs before any query."""

TEMPLATES: dict[str, tuple[str, tuple[int, ...]]] = {
    "$no_instant": ("CAST(NULL AS TIMESTAMP)", (0,)),
    "$same": ("{0}", (1,)),
    "$coalesce": ("coalesce({})", ()),
    "$clock": ("tick_clock({0})", (1,)),
    "$ticks": ("clock_ticks({0})", (1,)),
    "$rest": ("to_microseconds(epoch_us({0}) % 10)", (1,)),
    "$span": ("to_microseconds(epoch_us({0}) * 10)", (1,)),
    "$unix": (f"make_timestamp(CAST({{0}} * {{1}} AS BIGINT) + {UNIX_EPOCH})", (2,)),
    "$bin": ("any_bin({0}, {1})", (2,)),
    "$bin_at": ("any_bin_at({0}, {1}, {2})", (3,)),
    "$text": ("any_text({0}, {1})", (2,)),
    "$json": ("CAST({0} AS VARCHAR)", (1,)),
    "$number": ("any_number({0}, {1})", (2,)),
    "$element": ("any_element({0})", (1,)),
    "$todatetime": ("any_instant({0})", (1,)),
    "$totimespan": ("any_span({0})", (1,)),
    "$hash": ("CAST(hash({0}) % CAST({1} AS UBIGINT) AS BIGINT)", (2,)),
    "$size": ("any_size({0})", (1,)),
}
"""Functions of our own, which no query can name: SQL with places for arguments, and how many there may be."""
