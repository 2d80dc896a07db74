"""Rules that send a set to a node."""

SLICES = """
[sources.archive]
path = "data"

[select.slices]
level = "image"
where = "Modality = 'CT'"
"""
"""A source and a set of it, for rules that say where to."""

RULES = (
    SLICES
    + """
[nodes.peer]
ae_title = "STORESCP"
host = "127.0.0.1"
port = {port}
connect_timeout = 2
dimse_timeout = 5

[send.out]
select = "slices"
node = "peer"
associations = {associations}
"""
)
