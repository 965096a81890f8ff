# Prints the lines of FILE:LINE:CODE that import from a floor they must not know, for .ci/rules.sh.
#
# A module on floor 1 knows floor 0 and itself, never a sibling; above that, a module knows its own floor
# and those below. `session/` uses the public API alone, so what has none is not for it. `model` exists for
# loom only, and may know all.

BEGIN {
    FS = ":"
    n = split("process sync time hash error stats rows column roster", a, " "); for (i = 1; i <= n; i++) floor[a[i]] = 0
    n = split("wheel policy flight reaper table", a, " "); for (i = 1; i <= n; i++) floor[a[i]] = 1
    n = split("shard", a, " "); for (i = 1; i <= n; i++) floor[a[i]] = 2
    n = split("cache builder entry computed select expiry life listener iter snapshot", a, " "); for (i = 1; i <= n; i++) floor[a[i]] = 3
    floor["session"] = 4
    n = split("hash rows column roster wheel policy flight table shard", a, " "); for (i = 1; i <= n; i++) private[a[i]] = 1
}

function allowed(from, to) {
    if (from == to) return 1
    if (!(to in floor)) return 0
    if (from == "session") return !(to in private)
    if (floor[from] == 1) return floor[to] == 0
    return floor[to] <= floor[from]
}

{
    module = $1
    sub(/^src\//, "", module)
    sub(/(\/.*)?(\.rs)?$/, "", module)
    if (module == "lib" || module == "docs" || module == "model") next
    code = substr($0, length($1) + length($2) + 3)
    if (!(module in floor)) {
        if (!(module in told)) print $0 "      <- the module '" module "' has no floor in .ci/floors.awk"
        told[module] = 1
        next
    }
    # `crate::module::..`, and the modules of `crate::{a::.., b::..}` on one line. A name that begins with
    # a capital is a re-export at the root: for the upper floors.
    rest = code
    while (match(rest, /(^|[^A-Za-z_])crate::/)) {
        rest = substr(rest, RSTART + RLENGTH)
        if (substr(rest, 1, 1) == "{") {
            list = substr(rest, 2)
            while (match(list, /\{[^{}]*\}/)) list = substr(list, 1, RSTART - 1) substr(list, RSTART + RLENGTH)
            m = split(list, parts, ",")
        } else {
            parts[1] = rest
            m = 1
        }
        for (i = 1; i <= m; i++) {
            name = parts[i]
            sub(/^[ ]+/, "", name)
            match(name, /^[A-Za-z_0-9]*/)
            name = substr(name, 1, RLENGTH)
            if (name == "") continue
            bad = name ~ /^[A-Z]/ ? floor[module] < 3 : !allowed(module, name)
            if (bad) { print; next }
        }
    }
}
