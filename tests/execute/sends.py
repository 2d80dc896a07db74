"""Rules that send a set to a node."""

RULES = """
[sources.archive]
path = "data"

[select.slices]
level = "image"
where = "Modality = 'CT'"

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
