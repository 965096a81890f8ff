# Holds counted instructions to the table, for .ci/counts.sh. Both are rows of NAME, INSTRUCTIONS, LOCKED ones
# and what is not looked at, separated by tabs, under a title and comments. Prints a line for each name.
#
#   awk -v percent=P -v least=L -v skip=NAME -f .ci/counts.awk side=old TABLE side=new MEASURED
#
# A difference of up to P percent or L instructions is allowed, whichever is more; of NAME, any. Of locked ones
# a tenth more is allowed, of NAME too: they are rare events that shift, or one in each operation. Exits with
# 0 if all are within that, with 1 if one is above it or only on one side or no number, with 3 if it is
# merely that some are below.

function verdict(name,    change, allowed, share) {
    if (!(name in old)) return "FAILED: not in the table"
    if (!(name in new)) return "FAILED: not counted"
    if (newly_locked[name] - locked[name] > 0.1 + 1e-6) {
        return sprintf("FAILED: %.1f locked, the table says %.1f", newly_locked[name], locked[name])
    }
    change = new[name] - old[name]
    allowed = old[name] * percent / 100
    if (allowed < least) allowed = least
    share = sprintf("%+6.1f %%", change / old[name] * 100)
    if (name == skip) return share "  not compared"
    # Figures have one digit after the point, and their differences all that binary fractions add to it.
    if (change > allowed + 1e-6) { return share sprintf("  FAILED: more by %.1f, allowed are %.1f", change, allowed) }
    if (change < -allowed - 1e-6) { return share "  fewer" }
    return share
}

BEGIN { FS = "\t" }
/^#/ || /^operation\t/ || /^$/ { next }
{
    good = $2 ~ /^[0-9]+(\.[0-9]+)?$/ && $2 > 0 && $3 ~ /^[0-9]+(\.[0-9]+)?$/
    twice = side == "old" ? ($1 in old) : ($1 in new)
    if (!good || twice) { printf "   %-22s FAILED: %s in %s: %s\n", $1, good ? "twice" : "no count", FILENAME, $2; failed = 1 }
    if (!($1 in seen)) { seen[$1]; names[++count] = $1 }
    if (side == "old") { old[$1] = good ? $2 : 1; locked[$1] = $3 }
    else { new[$1] = good ? $2 : 1; newly_locked[$1] = $3 }
}
END {
    if (count == 0) { print "   FAILED: no row on either side"; failed = 1 }
    else printf "   %-22s %9s %9s\n", "", "table", "now"
    for (i = 1; i <= count; i++) {
        name = names[i]
        said = verdict(name)
        if (said ~ /FAILED/) failed = 1
        if (said ~ /fewer$/) fewer = 1
        printf "   %-22s %9s %9s %s\n", name, old[name], new[name], said
    }
    exit failed ? 1 : fewer ? 3 : 0
}
