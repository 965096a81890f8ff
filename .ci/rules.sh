#!/usr/bin/env bash
# The rules of the house that no compiler knows, held against the text of src/. Every breach is listed.
#
# Works on lines, after .ci/rules.awk has taken out comments, strings and test modules: good enough for
# code in rustfmt's layout, and no parser.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

longest=600
breaches=0

# breach RULE LINES: counts a rule with breaches, and lists them.
breach() {
    [ -n "$2" ] || return 0
    breaches=$((breaches + 1))
    printf '\n   %s\n%s\n' "$1" "$(printf '%s\n' "$2" | sed 's/^/      /')"
}

mapfile -t files < <(git ls-files --cached --others --exclude-standard 'src/*.rs' | sort)
[ "${#files[@]}" -gt 0 ] || fail "there is no source in src/"
# FILE:LINE:CODE of everything that is code and no test.
code=$(awk -f .ci/rules.awk -v show=code "${files[@]}")

# code_with PATTERN [FILES TO LEAVE OUT]: the lines of code that match, but for those files.
code_with() {
    printf '%s\n' "$code" | grep -E "^[^:]+:[0-9]+:.*($1)" | { grep -vE "^(${2:-none}):" || true; } || true
}

say "unsafe: in src/table/, in src/process.rs, and on one line of src/time.rs"
breach "unsafe outside of src/table/ and src/process.rs" "$(code_with '\<unsafe\>' 'src/table/[^:]*|src/process[^:]*|src/time\.rs')"
in_time=$(code_with '\<unsafe\>' | grep '^src/time\.rs:' || true)
[ "$(printf '%s' "$in_time" | grep -c .)" -le 1 ] || breach "more than one unsafe in src/time.rs" "$in_time"
breach "unsafe code allowed elsewhere than on 'mod table' (src/lib.rs, src/table/), in src/process.rs and in src/time.rs" \
    "$(code_with 'allow\(.*\<unsafe_code\>' 'src/lib\.rs|src/table/[^:]*|src/process[^:]*|src/time\.rs')"

say "SAFETY comments: each cites an invariant from the top of src/table/mod.rs, or of src/process.rs"
# cites FILE LETTER PATHS: comments in files whose path begins so cite one of the invariants that are listed in FILE under that letter.
cites() {
    [ -f "$1" ] || return 0
    local known safety
    known=$(sed -n "s/^\/\/! - \*\*\($2[0-9]*\) .*/\1/p" "$1" | paste -sd '|')
    safety=$(awk -f .ci/rules.awk -v show=safety "${files[@]}" | grep "^$3" || true)
    breach "cites none of ${known:-(there are none)}" "$(printf '%s\n' "$safety" | grep -vE "\<(${known:-none})\>" || true)"
    breach "cites one that is not there" \
        "$(printf '%s\n' "$safety" | sed -E "s/\<(${known:-none})\>//g" | grep -E "\<$2[0-9]+\>" || true)"
}
cites src/table/mod.rs T src/table/
cites src/process.rs P src/process

say "memory orderings: each access under an '// ORDERING:' of its own, SeqCst for fences alone"
breach "no '// ORDERING:' at this access" "$(awk -f .ci/rules.awk -v show=orderings "${files[@]}")"
breach "SeqCst on an access" "$(code_with '\<SeqCst\>' | grep -vE '\<(compiler_)?fence\(' || true)"
breach "an ordering under a shorter name" "$(code_with '\<use\>.*\<Ordering::')"

say "concurrency: std's, loom's, shuttle's and crossbeam's only in src/sync.rs"
# OnceLock and LazyLock hold constants of the machine in src/time.rs, and the number of its cores is one
# too: loom has nothing to explore there.
breach "named outside of src/sync.rs" "$(
    code_with '\<(std|core|alloc)::(sync|thread)\>|\<(std|core)::\{.*\<(sync|thread)\>|\<(loom|shuttle)(::|;| as)|\<crossbeam[a-z_]*(::|;| as)' 'src/sync\.rs' |
        grep -vE '^src/time\.rs:[0-9]+: *(pub\([a-z]+\) )?use std::sync::(OnceLock|LazyLock|\{LazyLock, OnceLock\});|std::thread::available_parallelism;' || true
)"

say "imports: down the floors only"
breach "import of a sibling or of a floor above" "$(printf '%s\n' "$code" | awk -f .ci/floors.awk)"
breach "glob import" "$(code_with '\<use (crate|super|self)\>.*\*' 'src/sync\.rs')"
breach "a file that says nothing" "$(find src -name 'util*' -o -name 'helper*' -o -name 'common*' -o -name 'misc*')"

say "planted bugs: each where it can be planted, and one at least for each model"
mapfile -t bugs < <(git ls-files --cached --others --exclude-standard 'loom-tests/planted/*.bug' | sort)
mapfile -t models < <(
    git ls-files --cached --others --exclude-standard 'loom-tests/tests/*.rs' 'loom-tests/shuttle/tests/*.rs' | sort
)
idle=''
[ "${#models[@]}" -eq 0 ] || idle=$(awk -f .ci/planted.awk "${bugs[@]}" "${models[@]}" | sort)
breach "cannot be planted, or finds nothing" "$idle"

say "files: opened by a '//!', $longest lines at most"
for file in "${files[@]}"; do
    first=$(head -n 1 "$file")
    [ "${first#//!}" != "$first" ] || breach "does not say what it is and what it never knows" "$file"
    lines=$(wc -l <"$file")
    [ "$lines" -le "$longest" ] || breach "too long to be read in one sitting" "$file: $lines lines"
done

[ "$breaches" -eq 0 ] || fail "$breaches rules broken"
say "${#files[@]} files keep the rules"
