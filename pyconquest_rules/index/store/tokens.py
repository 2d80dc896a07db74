"""The tokens of SQL."""

import re

# Words, quoted texts and names, comments, and single characters.
TOKEN = re.compile(
    r"""(?sx) '[^']*'? | "[^"]*"? | `[^`]*`? | \[[^\]]*\]? | --[^\n]* | /\*.*?(?:\*/|\Z) | \s+ | [\w$]+ | ->>? | . """
)
