#!/usr/bin/env bash
# Whether a real Prometheus makes something of the figures: it scrapes adapters/metrics/examples/scraped.rs for a while, and then every
# expression of the dashboard must have an answer. Not called from .ci/run: it takes a minute, and Debian's package `prometheus`.
#
#   .ci/dashboard.sh [--stay]       --stay: goes on until it is interrupted, for who wants to look
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

have prometheus || debian prometheus || fail "there is no prometheus here, and Debian's cannot be installed"
dashboard=adapters/metrics/dashboard.json
page=127.0.0.1:9091
server=127.0.0.1:9092
for_so_long=30

run cargo build --release --locked --manifest-path "$ADAPTERS" -p tidewheel-metrics --features prometheus-client --example scraped
scratch
"$CARGO_TARGET_DIR/release/examples/scraped" "$page" >"$SCRATCH/scraped.log" &
example=$!
cat >"$SCRATCH/prometheus.yml" <<EOF
global: { scrape_interval: 1s }
scrape_configs: [{ job_name: scraped, static_configs: [{ targets: ["$page"] }] }]
EOF
prometheus --config.file="$SCRATCH/prometheus.yml" --storage.tsdb.path="$SCRATCH/data" --web.listen-address="$server" \
    >"$SCRATCH/prometheus.log" 2>&1 &
prometheus=$!
trap 'kill "$example" "$prometheus" 2>/dev/null; wait; finish' EXIT
say "$for_so_long s of scrapes"
sleep "$for_so_long"

asked=0
while IFS= read -r expression; do
    answer=$(promtool query instant "http://$server" "$expression") || fail "not understood: $expression"
    series=$(grep -c '=>' <<<"$answer" || true)
    [ "$series" -gt 0 ] || fail "no answer to: $expression"
    grep -vq 'NaN' <<<"$answer" || fail "nothing but NaN for: $expression"
    printf '   %2d series  %s\n' "$series" "$expression"
    asked=$((asked + 1))
done < <(sed -n 's/^ *"expr": "\(.*\)",\{0,1\}$/\1/p' "$dashboard" |
    sed 's/\\"/"/g; s/\$cache/.*/g; s/\$__rate_interval/10s/g')
[ "$asked" -gt 0 ] || fail "there is no expression in $dashboard"
say "$asked expressions, each with an answer"
if [ "${1:-}" = --stay ]; then
    say "http://$server and http://$page/metrics"
    wait
fi
