#!/bin/sh
# Shell completion and manual pages, made of what the commands themselves say (--help, check-config --all): nothing is
# kept in step by hand. usage: pages.sh PROGRAM FOLDER      FOLDER gets bash-completion/, zsh/ and man/, as below share/
set -eu
program=$1
out=$2
bin=$(dirname "$program")
version=$("$program" version | cut -d' ' -f2)
# The same sources give the same bytes.
date=$(git -C "$(dirname "$0")" log -1 --format=%cs 2>/dev/null || date -u -r "$0" +%F)
names='torchserve torch-model-archiver torch-workflow-archiver'
rm -rf "$out"
bash=$out/bash-completion/completions
zsh=$out/zsh/site-functions
man=$out/man/man1
mkdir -p "$bash" "$zsh" "$man"
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

# Help as lines of fields that tabs separate: U usage; O names value about; T paragraph.
parse() {
    awk -v OFS='\t' '
    function flush() {
        if (kind == "O") print kind, names, value, about
        else if (kind) print kind, about
        kind = names = value = about = ""
    }
    function add(text) { sub(/^ +/, "", text); about = about (about && text ? " " : "") text }
    /^$/ { flush(); next }
    /^options:$/ { next }
    /^usage: / { flush(); kind = "U"; add(substr($0, 8)); next }
    /^  -/ {
        flush(); kind = "O"
        whole = substr($0, 3)
        at = match(whole, /  +/)
        if (at) { add(substr(whole, at)); whole = substr(whole, 1, at - 1) }
        n = split(whole, alike, /, /)
        for (i = 1; i <= n; i++) {
            name = alike[i]
            if (match(name, /[ \[]/)) {
                value = substr(name, RSTART + (substr(name, RSTART, 1) == " "))
                name = substr(name, 1, RSTART - 1)
            }
            names = names (names ? " " : "") name
        }
        next
    }
    /^        / && kind { add($0); next }
    { if (kind != "T") flush(); kind = "T"; add($0) }
    END { flush() }'
}

"$program" help | awk -v OFS='\t' '/^  [a-z]/ { name = $1; sub(/^ +[^ ]+ +/, ""); print name, $0 }' >"$parts/commands"
cut -f1 "$parts/commands" | grep -vx 'help\|version' | while read -r command; do
    "$program" "$command" --help </dev/null | parse >"$parts/$command"
done
for name in $names; do
    "$bin/$name" --help | parse >"$parts/$name"
done
# One command makes both kinds of archive.
grep '^O' "$parts/torch-workflow-archiver" | grep -vxFf "$parts/archive" | awk -F'\t' -v OFS='\t' '
    FNR == NR { if ($1 == "O") known[$2] = 1; next } !($2 in known)' "$parts/archive" - >"$parts/more"
cat "$parts/more" >>"$parts/archive"

# Settings: name, default, what they do.
settings() {
    : >"$parts/none"
    # It says 1: some of them have no effect.
    { "$program" check-config --ncs --all --for "$1" "$parts/none" || [ $? = 1 ]; } | awk -v OFS='\t' '
    /^Not in the file:/ { told = 1; next }
    told && /^  [a-z]/ { name = $0; sub(/^ +[a-z]+( effect)? +/, "", name); fallback = name
        sub(/ .*/, "", name); sub(/^[^(]*\(/, "", fallback); sub(/\)$/, "", fallback); next }
    told && /^   / && name { sub(/^ +/, ""); print name, fallback, $0; name = "" }'
}
settings serve >"$parts/settings"
settings torchserve >"$parts/settings.torchserve"

# What can stand behind an option, by the word that its help has for it.
kinds='
    function kind_of(value) {
        if (value == "") return ""
        if (value ~ /^\{/) { gsub(/[{}]/, "", value); gsub(/,/, " ", value); return "words " value }
        if (value == "KEY=VALUE") return "settings"
        if (value ~ /DIR|FOLDER|STORE/) return "dirs"
        if (value ~ /FILE|CONFIG|PATH|LIST|MODEL|HANDLER|^F$/) return "files"
        return value ~ /^\[/ ? "" : "none"
    }'
told() { for file in $(cut -f1 "$parts/commands") $names; do [ ! -e "$parts/$file" ] || echo "$file"; done | sort -u; }
note="made of what the commands of sconce $version say of themselves (tools/pages.sh)"

# ---- bash --------------------------------------------------------------------------------------------------------------
{
    echo "# Completion for bash, $note"
    printf '_sconce_options() {\n    case %s in\n' "\$1"
    for command in $(told); do
        echo "    $command) echo '$({ echo --help && awk -F'\t' '$1 == "O" { print $2 }' "$parts/$command"; } | tr -s ' \n' '\n' | sort -u | tr '\n' ' ')' ;;"
    done
    echo '    esac'
    echo '}'
    printf '_sconce_value() {\n    case %s in\n' "\$1:\$2"
    for command in $(told); do
        awk -F'\t' -v command="$command" "$kinds"'
        $1 == "O" && (kind = kind_of($3)) { n = split($2, all, / /)
            for (i = 1; i <= n; i++) printf "    %s:%s) echo \"%s\" ;;\n", command, all[i], kind }' "$parts/$command"
    done
    echo '    esac'
    echo '}'
    echo "_sconce_commands='$(cut -f1 "$parts/commands" | tr '\n' ' ')'"
    echo "_sconce_settings='$(sed 's/\t.*/=/' "$parts/settings" | tr '\n' ' ')'"
    cat <<'END'
_sconce() {
    local cur=${COMP_WORDS[COMP_CWORD]} at=$((COMP_CWORD - 1)) command=${1##*/} kind
    COMPREPLY=()
    if [[ $command == sconce ]]; then
        command=${COMP_WORDS[1]}
        if ((COMP_CWORD == 1)); then
            mapfile -t COMPREPLY < <(compgen -W "$_sconce_commands" -- "$cur")
            return
        fi
    fi
    # bash takes --option=value for three words.
    [[ $cur != = ]] || cur=
    [[ ${COMP_WORDS[at]} != = ]] || ((at--))
    kind=$(_sconce_value "$command" "${COMP_WORDS[at]}")
    case $kind in
    dirs)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        compopt -o filenames 2>/dev/null
        ;;
    settings)
        mapfile -t COMPREPLY < <(compgen -W "$_sconce_settings" -- "$cur")
        compopt -o nospace 2>/dev/null
        ;;
    words*) mapfile -t COMPREPLY < <(compgen -W "${kind#words }" -- "$cur") ;;
    none) ;;
    *)
        if [[ -z $kind && $cur == -* ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_sconce_options "$command")" -- "$cur")
        else
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            compopt -o filenames 2>/dev/null
        fi
        ;;
    esac
    return 0
}
END
    echo "complete -F _sconce sconce $names"
} >"$bash/sconce"
for name in $names; do ln -s sconce "$bash/$name"; done

# ---- zsh ---------------------------------------------------------------------------------------------------------------
quoted="s/'/'\\\\''/g" # within single quotes
{
    echo "#compdef sconce $names"
    echo "# Completion for zsh, $note"
    echo 'local -a commands settings'
    echo 'commands=('
    sed "$quoted; s/:/\\\\:/g; s/\t/:/; s/.*/    '&'/" "$parts/commands"
    echo ')'
    echo 'settings=('
    sed "$quoted; s/:/\\\\:/g" "$parts/settings" | awk -F'\t' '{ print "    \047" $1 ":" $3 "\047" }'
    echo ')'
    cat <<'END'
local command=$service
if [[ $service == sconce ]]; then
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    command=$words[1]
fi
case $command in
END
    for command in $(told); do
        echo "($command) _arguments -S \\"
        awk -F'\t' "$kinds"'
        function action(kind) {
            if (kind ~ /^words/) return "(" substr(kind, 7) ")"
            if (kind == "settings") return "{ _describe -V setting settings -S = }"
            return kind == "dirs" ? "_files -/" : kind == "files" ? "_files" : " "
        }
        $1 == "O" {
            about = $4; gsub(/[\[\]:\\]/, "\\\\&", about)
            value = $3; gsub(/[][{}]/, "", value); gsub(/[:=]/, " ", value); gsub(/[\\]/, "", value)
            kind = kind_of($3); n = split($2, all, / /)
            for (i = 1; i <= n; i++) {
                long = substr(all[i], 2, 1) == "-"
                spec = all[i] ($3 ~ /^\[/ ? "=-" : kind == "" ? "" : long ? "=" : "+") "[" about "]"
                if ($3 ~ /^\[/) spec = spec "::" value ": "
                else if (kind) spec = spec ":" value ":" action(kind)
                print (kind == "settings" || $3 ~ /\.\.\./ ? "*" : "") spec
            }
        }' "$parts/$command" | sed "$quoted; s/.*/    '&' \\\\/"
        echo "    '*:file:_files' ;;"
    done
    echo '(*) _files ;;'
    echo 'esac'
} >"$zsh/_sconce"

# ---- manual pages ------------------------------------------------------------------------------------------------------
# roff's own letters; text() also breaks long lines, of which none may begin like a macro.
plain='
    function roff(s) {
        gsub(/\\/, "\\e", s); gsub(/-/, "\\-", s); gsub(/`/, "\\(ga", s); gsub(/\047/, "\\(aq", s)
        return s
    }
    function text(s,  i, n, words, line, all) {
        n = split(roff(s), words, / /)
        for (i = 1; i <= n; i++) {
            if (line != "" && length(line) + length(words[i]) > 76) { all = all line "\n"; line = "" }
            line = line (line == "" ? (words[i] ~ /^\./ ? "\\&" : "") : " ") words[i]
        }
        return all line
    }'

# section FILE: usage and text of a command, then its options
section() {
    awk -F'\t' "$plain"'
    /^[UT]/ && n++ { print ".PP" }
    $1 == "U" { print ".B " roff($2) }
    $1 == "T" { print text($2) }' "$1"
    awk -F'\t' "$plain"'
    $1 == "O" {
        n = split($2, all, / /); head = ""
        for (i = 1; i <= n; i++) head = head (i > 1 ? ", " : "") "\\fB" roff(all[i]) "\\fR"
        if ($3 != "") head = head ($3 ~ /^\[/ ? "" : " ") "\\fI" roff($3) "\\fR"
        print ".TP\n" head "\n" ($4 == "" ? "\\&" : text($4))
    }' "$1"
}

# page NAME WHAT: its beginning
page() {
    echo ".\\\" $note"
    echo ".TH $(echo "$1" | tr '[:lower:]' '[:upper:]' | sed 's/-/\\-/g') 1 $date \"sconce $version\" \"Sconce\""
    echo '.SH NAME'
    echo "$(echo "$1" | sed 's/-/\\-/g') \\- $2"
}

# settings_section FILE INTRODUCTION
settings_section() {
    echo '.SH SETTINGS'
    awk -v said="$2" "$plain"'BEGIN { print text(said) }'
    awk -F'\t' "$plain"'{ print ".TP\n\\fB" roff($1) "\\fR (" roff($2) ")\n" text($3) }' "$1"
}

# see_also NAME...
see_also() {
    echo '.SH SEE ALSO'
    while [ $# -gt 0 ]; do
        echo ".BR $(echo "$1" | sed 's/-/\\-/g') (1)$([ $# = 1 ] || echo ' ,')"
        shift
    done
}

{
    page sconce 'serve models'
    printf '.SH SYNOPSIS\n.B sconce\n.I COMMAND\n.RI [ OPTION ...]\n.SH DESCRIPTION\n'
    echo 'A model server that takes the place of TorchServe. Its commands:'
    awk -F'\t' "$plain"'{ print ".TP\n.B " roff($1) "\n" text($2) }' "$parts/commands"
    cut -f1 "$parts/commands" | while read -r command; do
        if [ ! -e "$parts/$command" ] || [ "$command" = torchserve ]; then continue; fi
        echo ".SH SCONCE $(echo "$command" | tr '[:lower:]' '[:upper:]' | sed 's/-/\\-/g')"
        section "$parts/$command"
    done
    settings_section "$parts/settings" 'Keys of config.properties, and of --set, with the defaults of sconce serve:'
    # shellcheck disable=SC2086
    see_also $names
} >"$man/sconce.1"
{
    page torchserve 'start and stop a model server as TorchServe does'
    echo '.SH SYNOPSIS'
    section "$parts/torchserve" | sed '1a .SH DESCRIPTION' | sed '3{/^\.PP$/d}'
    settings_section "$parts/settings.torchserve" 'Keys of config.properties, with the defaults of torchserve:'
    see_also sconce torch-model-archiver torch-workflow-archiver
} >"$man/torchserve.1"
for kind in model workflow; do
    {
        page "torch-$kind-archiver" "make an archive of a $kind"
        echo '.SH SYNOPSIS'
        section "$parts/torch-$kind-archiver" | sed '1a .SH DESCRIPTION' | sed '3{/^\.PP$/d}'
        see_also sconce torchserve
    } >"$man/torch-$kind-archiver.1"
done
