"""A rules file that uses every table and every key."""

EVERYTHING = """
outputs = [".", { env = "EXPORT_ROOT", default = "export" }]

[index]
database = { env = "INDEX", default = "index/conquest.db" }

[vars]
release = "2026.1"
out = { env = "EXPORT_ROOT", default = "export" }

[sources.archive]
path = "data"
exclude = ["**/.*", "scratch/**", "*.txt"]

[sources.second]
path = { env = "SECOND", default = "/nowhere/at/all" }

[[schema.patient]]
column = "EthnicGroup"
tag = "EthnicGroup"

[[schema.study]]
column = "ReasonForVisit"
tag = "0032,1066"

[[schema.series]]
column = "GantryDetectorTilt"
tag = "GantryDetectorTilt"

[[schema.image]]
column = "BeamDose0"
tag = "FractionGroupSequence[0].ReferencedBeamSequence[0].BeamDose"

[[schema.image]]
column = "FirstMeterset"
tag = "300a,0070[0].300c,0004[0].300a,0086"

[select.planning_ct]
level = "series"
query = '''
select SeriesInstanceUID, PatientID as subject, ImageCount as slices
from series
where Modality = :modality and ImageCount >= :min_slices and :release != ''
'''
params = { modality = "CT", min_slices = 20 }

[select.recent_mr]
level = "series"
where = "Modality = 'MR' and StudyDate >= '20240101'"

[select.people]
level = "patient"
where = "SeriesCount > 1 and EthnicGroup is null"

[select.beams]
level = "image"
where = "BeamDose0 > 1.5"

[copy.export]
select = "planning_ct"
to = "{{ vars.out }}/{{ subject }}/{{ Modality }}/{{ slices }}/{{ SOPInstanceUID }}.dcm"
mode = "hardlink"
on_conflict = "rename"
prune = true
tags = ["nightly", "ct"]

[copy.second]
select = "beams"
to = '''
beams/
{%- if BeamDose0 is defined %}{{ BeamDose0 }}{% else %}none{% endif -%}
/{{ SOPInstanceUID | short_uid(12) }}.dcm'''
needs = ["copy.export"]
tags = ["nightly"]

[copy.people]
select = "people"
to = "people/{{ PatientID }}/{{ SOPInstanceUID }}.dcm"
"""
