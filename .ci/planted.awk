# Holds the planted bugs of loom-tests/planted/ against the sources and the models, for .ci/rules.sh: what
# examples/planted.rs complains of too, but only after minutes. Prints each breach, BUG: or FILE:MODEL: first.
#
# Takes the bugs, and after them the files where the models are. A test in FILE.rs is the model FILE::TEST, and has to be
# named by a bug; one in main.rs, a storm, is the model TEST, and need not be.

function report(where, what) { print where ": " what }

# How often `text` is in `whole`, as Rust's `matches` counts.
function times(text, whole,    n, at) {
    for (n = 0; (at = index(whole, text)) > 0; n++) whole = substr(whole, at + length(text))
    return n
}

# All of a file, read once.
function source(file,    line, whole) {
    if (!(file in sources)) {
        whole = ""
        while ((getline line < file) > 0) whole = whole line "\n"
        close(file)
        sources[file] = whole
    }
    return sources[file]
}

function end_bug(    at, n) {
    if (bug == "") return
    at = index(text, "---- bug\n")
    if (!is_text || !at) report(bug, "no '---- text' with a '---- bug' after it")
    else if (file == "") report(bug, "no 'file: '")
    else if (source(file) == "") report(bug, "there is no " file)
    else if ((n = times(substr(text, 1, at - 1), source(file))) != 1) report(bug, "its text is there " n " times in " file ", not once")
    if (!named) report(bug, "names no model")
    bug = ""
}

FNR == 1 {
    end_bug()
    is_text = is_model = named = 0
    file = text = ""
    stem = FILENAME
    sub(/^.*\//, "", stem)
    sub(/\.[a-z]+$/, "", stem)
    if (FILENAME ~ /\.bug$/) bug = FILENAME
}

bug != "" && is_text { text = text $0 "\n"; next }
bug != "" && $0 == "---- text" { is_text = 1; next }
bug != "" && /^file: / { file = substr($0, 7) }
bug != "" && /^model: / { named++; bugs_of[substr($0, 8)] = bugs_of[substr($0, 8)] " " bug }
bug != "" { next }

/^ *#\[test\]$/ { is_model = 1; next }
is_model && /^ *fn / {
    test = $0
    sub(/^ *fn /, "", test)
    sub(/\(.*/, "", test)
    model = (stem == "main" ? "" : stem "::") test
    models[model] = 1
    if (stem != "main" && !(model in bugs_of)) report(FILENAME ":" FNR, "no bug is planted for " model)
    is_model = 0
}

END {
    end_bug()
    for (model in bugs_of) if (!(model in models)) report(substr(bugs_of[model], 2), "there is no model " model)
}
