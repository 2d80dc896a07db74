"""SQL as tokens."""

import re

# Words, what is in quotes, comments, and all else letter by letter.
TOKEN = re.compile(
    r"""(?sx) '[^']*'? | "[^"]*"? | `[^`]*`? | \[[^\]]*\]? | --[^\n]* | /\*.*?(?:\*/|\Z) | \s+ | [\w$]+ | ->>? | . """
)
