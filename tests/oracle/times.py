"""Event time: microseconds since the epoch as integers, the spellings of contract section 6, RFC 3339 out."""

import re

MINUTE = 60_000_000
SECOND = 1_000_000

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)


def days_from_civil(year, month, day):
    """Days since 1970-01-01, by counting: leap years before `year`, then months, then days."""
    y = year - 1
    days = y * 365 + y // 4 - y // 100 + y // 400
    lengths = month_lengths(year)
    return days + sum(lengths[: month - 1]) + day - 1 - 719_162


def month_lengths(year):
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def civil_from_days(days):
    """(year, month, day) of a day number: guess the year, then correct it."""
    year = 1970 + days * 400 // 146_097
    while days_from_civil(year + 1, 1, 1) <= days:
        year += 1
    while days_from_civil(year, 1, 1) > days:
        year -= 1
    rest = days - days_from_civil(year, 1, 1)
    for month, length in enumerate(month_lengths(year), 1):
        if rest < length:
            return year, month, rest + 1
        rest -= length
    raise AssertionError("a day lies in its year")


FIRST_US = days_from_civil(1, 1, 1) * 86_400 * SECOND
LAST_US = days_from_civil(10_000, 1, 1) * 86_400 * SECOND - 1


def read_text(text):
    """Microseconds, or None when unreadable."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match.group(i)) for i in range(1, 7))
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= month_lengths(year)[month - 1]:
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    micros = int(((match.group(7) or "") + "000000000")[:6])
    offset = 0
    if match.group(9):
        off_hour, off_minute = int(match.group(10)), int(match.group(11))
        if off_hour > 23 or off_minute > 59:
            return None
        offset = (off_hour * 60 + off_minute) * (1 if match.group(9) == "+" else -1)
    minutes = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset
    return in_range((minutes * 60 + second) * SECOND + micros)


def read_millis(millis):
    """Microseconds of epoch milliseconds, or None when no calendar of four-digit years holds them."""
    return in_range(millis * 1000)


def in_range(micros):
    return micros if FIRST_US <= micros <= LAST_US else None


def rfc3339(micros):
    """Six fraction digits and Z; beyond year 9999, where a window around the last instants may end, its last microsecond."""
    micros = min(micros, LAST_US)
    seconds, fraction = divmod(micros, SECOND)
    days, rest = divmod(seconds, 86_400)
    year, month, day = civil_from_days(days)
    return "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ" % (
        year, month, day, rest // 3600, rest // 60 % 60, rest % 60, fraction,
    )


def of_kafka(millis):
    """A Kafka timestamp as rows have it: None where there is none, or no year up to 9999 holds it."""
    micros = None if millis is None else read_millis(millis)
    return None if micros is None else rfc3339(micros)


def date(micros):
    """YYYY-MM-DD."""
    return rfc3339(micros)[:10]
