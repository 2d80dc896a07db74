"""The tokens of SQL."""

import re

# Words, quoted texts and names, comments, and single characters.
TOKEN = re.compile(
    r"""(?sx) '[^']*'? | "[^"]*"? | `[^`]*`? | \[[^\]]*\]? | --[^\n]* | /\*.*?(?:\*/|\Z) | \s+ | [\w$]+ | ->>? | . """
)

TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def words(text: str) -> set[str]:
    """Return the words of a query in lower case, without those in its texts and comments."""
    return {word.lower() for word in WORDS.findall(TEXTS.sub(" ", text))}
