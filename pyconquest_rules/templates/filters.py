"""The filters of templates: `{{ StudyDate | date('%Y') }}`."""

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from hashlib import sha256

from pyconquest_rules.templates.values import LONGEST_VALUE

FILTERS = {
    "default": "default('text')",
    "lower": "lower",
    "upper": "upper",
    "replace": "replace('old', 'new'), the new text of at most 255 characters",
    "truncate": "truncate(n), n from 1 to 255",
    "pad": "pad(n), n from 1 to 64",
    "date": "date('%Y-%m-%d'), of %Y %m %d %y %b %B %j %a %A %%",
    "short_uid": "short_uid or short_uid(n), n from 4 to 32",
    "slug": "slug",
}
"""The names of all filters, each with its usage for error messages."""

DATE = re.compile(r"([1-9][0-9]{3})(\.?)([0-9]{2})\2([0-9]{2})")
DATE_FORMAT = re.compile(r"(?:[^%]|%[YmdybBjaA%])+")
# Descriptions of values that do not match DATE, without the value.
NO_DATES = (
    (re.compile(r"[0-9]{4}"), "is a year without a month and a day"),
    (re.compile(r"[0-9]{4}[-./]?[0-9]{2}"), "is a year and a month without a day"),
    (re.compile(r"0[0-9]{7}|0[0-9]{3}\.[0-9]{2}\.[0-9]{2}"), "is a date of an impossible year"),
    (re.compile(r"[0-9]{8}|[0-9]{4}\.[0-9]{2}\.[0-9]{2}"), "is a date that is not in the calendar"),
    (re.compile(r"[0-9]{8}[T ]?[0-9]{2}.*"), "is a date with a time"),
    (re.compile(r"[0-9]{8}-([0-9]{8})?|-[0-9]{8}"), "is a range of dates"),
    (re.compile(r"[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}"), "is a date in another form"),
)


def text_filter(name: str, arguments: tuple[object, ...]) -> Callable[[str], str] | None:
    """Return the function of a filter, which returns "" for an unusable text; None if its arguments do not match FILTERS.

    `default` is not among them, because it replaces a value that is missing.
    """
    match (name, *arguments):
        case ("lower",):
            return str.lower
        case ("upper",):
            return str.upper
        case ("slug",):
            return _slug
        case ("replace", str(old), str(new)) if old and len(new) <= 255:
            return lambda text: text.replace(old, new) if len(text) <= LONGEST_VALUE else text
        case ("truncate", int(length)) if 1 <= length <= 255:
            return lambda text: text[:length]
        case ("pad", int(length)) if 1 <= length <= 64:
            return lambda text: text.rjust(length, "0")
        case ("date", str(form)) if DATE_FORMAT.fullmatch(form):
            return lambda text: _date(text, form)
        case ("short_uid",):
            return text_filter(name, (8,))
        case ("short_uid", int(length)) if 4 <= length <= 32:
            return lambda text: sha256(text.encode(errors="surrogatepass")).hexdigest()[:length]
    return None


def no_date(text: str) -> str:
    """Describe a value that is not a date, without the value."""
    return next((kind for form, kind in NO_DATES if form.fullmatch(text)), "is not a date")


def _slug(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", letters).strip("-")


def _date(text: str, form: str) -> str:
    """Format a DA (PS3.5 6.2), also with the points of ACR-NEMA; "" if it is not a date."""
    found = DATE.fullmatch(text)
    try:
        return date(int(found[1]), int(found[3]), int(found[4])).strftime(form) if found else ""
    except ValueError:
        return ""
