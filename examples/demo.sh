# The main job, step by step, in the current folder: `make demo` runs this in a copy of examples/quickstart.
set -eu
show() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

show pyconquest-rules check
show pyconquest-rules index
show pyconquest-rules summary
show pyconquest-rules plan --list
show pyconquest-rules apply
printf '\n# The second time there is nothing to do:'
show pyconquest-rules apply
show pyconquest-rules verify --deep
show pyconquest-rules query "select subject, count(*) as series from series_of_slices group by subject"
show find export -type f
