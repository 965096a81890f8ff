# Reads Rust in rustfmt's layout, line by line, for .ci/rules.sh. Prints FILE:LINE:CODE.
#
# -v show=code        every line of code, without comments, strings and modules of tests
# -v show=orderings   every line of code that names a memory ordering with no `// ORDERING:` over it
# -v show=safety      every `// SAFETY:` comment, as one line
#
# An `// ORDERING:` speaks for the statement it stands over: for all up to the next line that ends in
# `;`, to a blank line, or to the twelfth line of code, whichever is first. So two accesses need two; or
# one that says so: "both", "all three", "all four" speaks for all up to the blank line.

function forget_all() { in_tests = 0; pending = 0; covered = 0; several = 0; block = 0; raw = 0; safety = "" }

# The line without its comments and with empty strings; `raw` and `block` tell of what is still open.
function strip(line,    out, rest, i) {
    if (raw) {
        if (!match(line, /"#+/)) return ""
        line = substr(line, RSTART + RLENGTH)
        raw = 0
    }
    if (block) {
        i = index(line, "*/")
        if (!i) return ""
        line = substr(line, i + 2)
        block = 0
    }
    gsub(/'\\?"'/, "''", line)
    while (match(line, /r#+"/)) {
        out = substr(line, 1, RSTART - 1)
        rest = substr(line, RSTART + RLENGTH)
        raw = !match(rest, /"#+/)
        line = out "\"\"" (raw ? "" : substr(rest, RSTART + RLENGTH))
    }
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    sub(/\/\/.*/, "", line)
    if (match(line, /\/\*/)) {
        if (!index(substr(line, RSTART), "*/")) block = 1
        sub(/\/\*.*/, "", line)
    }
    sub(/[ \t]+$/, "", line)
    return line
}

# A file of tests is no code of the library, nor are the toys that the loom models play with.
FILENAME ~ /(^|\/)tests(\/|\.rs$)/ || FILENAME == "src/model.rs" { next }

FNR == 1 { forget_all() }

{
    comment = $0 ~ /^[ \t]*\/\/[^\/!]/
    if ($0 ~ /^[ \t]*\/\/ ORDERING:/) {
        covered = 12
        several = 0
    } else if ($0 ~ /[^ \t].*\/\/ ORDERING:/) covered = 1
    if (comment && covered == 12 && $0 ~ /both|all (three|four)/) several = 1
    code = strip($0)
}

# A module of tests ends at the brace in the column where it began.
in_tests {
    if (code == closing) in_tests = 0
    next
}
code ~ /^[ \t]*#\[cfg\((all\()?test[,)]/ { pending = 1; next }
pending && code ~ /^[ \t]*#\[/ { next }
pending {
    pending = 0
    if (code ~ /^[ \t]*(pub(\([a-z]+\))? )?mod [a-z_0-9]+ \{$/) {
        in_tests = 1
        match(code, /^[ \t]*/)
        closing = substr(code, 1, RLENGTH) "}"
        next
    }
    # A single item that only tests see, such as a constant or a function, counts as code.
}

show == "safety" {
    if ($0 ~ /^[ \t]*\/\/ SAFETY:/) {
        safety = FILENAME ":" FNR ":" $0
        next
    }
    if (safety != "" && comment) {
        sub(/^[ \t]*\/\//, "")
        safety = safety $0
        next
    }
    if (safety != "") print safety
    safety = ""
    next
}

code == "" {
    if (!comment && $0 ~ /^[ \t]*$/) covered = 0
    next
}

show == "code" { print FILENAME ":" FNR ":" code }

show == "orderings" {
    if (code ~ /Ordering::(Relaxed|Acquire|Release|AcqRel|SeqCst)/ && !covered && FILENAME != "src/stats.rs")
        print FILENAME ":" FNR ":" code
}

{
    if (covered) covered--
    if (code ~ /;$/ && !several) covered = 0
}
