#!/usr/bin/env bash
# Runs every check of this package: format, lints, docs, tests, models, examples, benchmarks.
#
#   tests/run.sh           under 15 minutes on two cores from a fresh clone, under 5 later
#   tests/run.sh --long    more cases, ten minutes of fuzzing, and mutation testing: hours
#
# All steps run, even after one has failed; the exit code is 0 only if none failed. What cannot run for want of a tool says
# so in a line that begins with SKIP. If the step is one that must not be missing, that is a failure too, unless
# ALLOW_SKIP=1 is set.
#
# CACHETTE_REDIS_SERVER names the program that the tests of Redis start, if it is not to be redis-server: a Valkey, another version.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

LONG=
case "${1:-}" in
    '') ;;
    --long) LONG=1 ;;
    *)
        echo "usage: tests/run.sh [--long]" >&2
        exit 2
        ;;
esac

TARGET=${CARGO_TARGET_DIR:-target}
LOGS=$TARGET/run
COMPARE=benches/compare/Cargo.toml
FUZZ=fuzz/Cargo.toml
SHARED=../shared
REDIS=${CACHETTE_REDIS_SERVER:-redis-server}
MINIMUM=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
mkdir -p "$LOGS"

SUMMARY=()
FAILED=0

note() { # result, seconds, name
    SUMMARY+=("$(printf '%-5s %5ss  %s' "$1" "$2" "$3")")
}

# Runs a step, its output shown, and goes on whatever becomes of it.
step() { # name, command...
    local name=$1 start=$SECONDS status
    shift
    printf '\n== %s\n' "$name"
    # Not as a condition: that would switch `set -e` off inside the step.
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    if [ $status -eq 0 ]; then
        note ok $((SECONDS - start)) "$name"
    else
        echo "== $name: failed with $status" >&2
        note FAIL $((SECONDS - start)) "$name"
        FAILED=1
    fi
}

# For a step whose tool is optional.
skip() { # name, reason
    printf '\nSKIP %s: %s\n' "$1" "$2"
    note skip 0 "$1: $2"
}

# For a step that must not be missing.
missing() { # name, reason
    if [ "${ALLOW_SKIP:-}" = 1 ]; then
        skip "$1" "$2"
        return
    fi
    printf '\nSKIP %s: %s\nIt must not be missing; set ALLOW_SKIP=1 to go without it.\n' "$1" "$2" >&2
    note FAIL 0 "$1: $2"
    FAILED=1
}

have() { command -v "$1" >/dev/null 2>&1; }

# --- Tools

tools() {
    if ! have cargo; then
        echo "Rust is missing: install it as https://rustup.rs says, then run this again." >&2
        exit 1
    fi
    # rustc links with cc; the fuzzer is built with c++.
    have cc && have c++ && return
    if have apt-get && [ "$(id -u)" -eq 0 ]; then
        echo "cc or c++ is missing: installing build-essential"
        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends build-essential
    fi
    if ! have cc; then
        echo "A C compiler is missing: install one (Debian, Ubuntu: build-essential; Fedora: gcc gcc-c++)." >&2
        exit 1
    fi
}

# True if the component is there, or could be added.
component() { # command, component
    cargo "$1" --version >/dev/null 2>&1 || { have rustup && rustup component add "$2" >/dev/null 2>&1; }
}

nightly() { # components, with commas between
    have rustup || return 1
    if rustup run nightly rustc --version >/dev/null 2>&1; then
        # A nightly that is there stays as it is, and gets what it lacks.
        [ -z "$1" ] || rustup component add --toolchain nightly ${1//,/ } >/dev/null 2>&1
    else
        rustup toolchain install nightly --profile minimal ${1:+--component "$1"} >/dev/null 2>&1
    fi
}

cargo_tool() { # cargo-NAME
    have "$1" || cargo install --quiet --locked "$1"
}

# Prints the command of a browser that can run without a screen: Chromium, by one of its names.
browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        # Some are there in name only, and fetch the browser itself later.
        if "$name" --version >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    return 1
}

get_browser() {
    browser >/dev/null && return
    have apt-get && [ "$(id -u)" -eq 0 ] || return 1
    echo "Chromium is missing: installing it"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; } >"$LOGS/chromium.log" 2>&1
    browser >/dev/null
}

# The tests of Redis start servers of their own.
get_redis() {
    have "$REDIS" && return
    [ "$REDIS" = redis-server ] || return 1
    have apt-get && [ "$(id -u)" -eq 0 ] || return 1
    echo "redis-server is missing: installing it"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server; } >"$LOGS/redis.log" 2>&1
    have redis-server
}

# --- Steps

# Runs tests chosen by a name, and fails if no test has it.
some_tests() { # log, command...
    local log=$LOGS/$1.log
    shift
    "$@" 2>&1 | tee "$log"
    grep -Eq '^test result: ok\. [1-9][0-9]* passed' "$log" || {
        echo "no test ran: have they been renamed?" >&2
        return 1
    }
}

format() {
    cargo fmt --check
    cargo fmt --check --manifest-path $COMPARE
    cargo fmt --check --manifest-path $FUZZ
}

lints() {
    cargo clippy --locked --all-targets --all-features -- -D warnings
    # A feature adds: what is there without it must be clean without it.
    cargo clippy --locked --lib --examples -- -D warnings
    cargo clippy --locked --lib --test redis --features redis -- -D warnings
    cargo clippy --locked --lib --test redis_cluster --features redis-cluster,test-kit -- -D warnings
    cargo clippy --locked --lib --test journal --features journal -- -D warnings
    cargo clippy --locked --lib --test snapshot --features serde -- -D warnings
}

lints_outside() {
    env -u CARGO_TARGET_DIR cargo clippy --release --all-targets --manifest-path $COMPARE -- -D warnings
    env -u CARGO_TARGET_DIR cargo clippy --all-targets --manifest-path $FUZZ -- -D warnings
}

docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
}

tests() {
    if [ -n "$LONG" ]; then
        export PROPTEST_CASES=${PROPTEST_CASES:-2000} CACHETTE_CAMPAIGN_SECONDS=${CACHETTE_CAMPAIGN_SECONDS:-120} \
            CACHETTE_KILLS=${CACHETTE_KILLS:-3000}
    fi
    cargo test --all-features --no-fail-fast --lib --tests --examples
    cargo test --test examples
}

doc_tests() {
    if [ -n "$LONG" ]; then export PROPTEST_CASES=${PROPTEST_CASES:-2000}; fi
    cargo test --all-features --doc
}

# Compiles the benchmarks and runs each once, unmeasured.
bench_smoke() {
    cargo test --all-features --bench '*'
}

models() {
    RUSTFLAGS="--cfg cachette_loom --cfg cachette_lean" CARGO_TARGET_DIR="$TARGET/loom" some_tests loom cargo test --lib --release loom_
}

# The machine code of a hit, as users have it.
locked_instructions() {
    some_tests locked cargo test --release --test warm_hits -- r2_a_hit_has --nocapture
}

oldest() {
    CARGO_TARGET_DIR="$TARGET/oldest" cargo "+$MINIMUM" check --lib --features test-kit,tokio,json,msgpack,postcard,serde,lz4,zstd,journal
}

replay_smoke() {
    cargo run --release --example replay
}

# Two runs count the same, whatever is drawn or hashed.
replay_again() {
    local run
    for run in one other; do
        cargo run --quiet --release --example replay -- --workload regimes --requests 100000 --keys 5000 --policies all \
            --over-time 4 --csv "$LOGS/replay-$run.csv" >/dev/null
        # But for the throughput.
        cut -d, -f1-8,10- "$LOGS/replay-$run.csv" >"$LOGS/replay-$run.hits.csv"
    done
    cmp "$LOGS/replay-one.hits.csv" "$LOGS/replay-other.hits.csv"
}

# The hits on every trace, against those that other programs counted. The two longest are half of all the work: they take
# part at one capacity, unless there is time.
replay_exact() {
    local trace
    for trace in "$SHARED"/traces/*.zst; do
        case $trace in
            */P3.u32.zst) exact "$trace" hit-ratios.csv "${LONG:+from-check}" 50000 ;;
            */P6.u32.zst) exact "$trace" hit-ratios.csv "${LONG:+from-check}" 65536 ;;
            *.u32.zst) exact "$trace" hit-ratios.csv from-check ;;
            *.sized.zst) exact "$trace" hit-ratios-sized.csv from-check ;;
        esac
    done
}

exact() { # trace, reference, capacity, capacity if that is empty
    cargo run --quiet --release --example replay -- "$1" --policies opt,lru,lfu,fifo,sieve,s3-fifo \
        --capacity "${3:-$4}" --check "$SHARED/reference/$2"
}

# The pages that replay writes, as a browser has them once their script has run: the charts are there, and the table is sorted by
# the column that the address names. Through one place a loop hits less than anything else: it comes first by `opt`.
replay_page() {
    local page=$LOGS/replay.html
    cargo run --quiet --release --example replay -- --workload zipf:0.99,loop --requests 20000 --keys 1000 \
        --policies opt,lru,fifo --curve 5 --html "$page"
    page_begins "$page" 2 4 ascending '<td class="name">loop</td><td data-v="1">'
    page_begins "$page" 2 -2 descending '<td class="name">loop</td><td data-v="1000">'
    cargo run --quiet --release --example replay -- --workload regimes --requests 20000 --keys 1000 \
        --policies opt,lru,lfu,lirs --capacity 50,100 --over-time 16 --html "$page"
    page_begins "$page" 3 -2 descending '<td class="name">regimes</td><td data-v="100">'
    # Each of two charts has the phases' names, three lines between them, and a mark for each policy and slice.
    page_has "$page" 6 '<path class="phase"'
    page_has "$page" 2 '>zipf, other keys</text>'
    page_has "$page" $((2 * 4 * 16)) ' in requests '
}

page_has() { # page, times, text
    local times
    times=$(grep -o "$3" "$LOGS/replay.dom" | wc -l)
    [ "$times" -eq "$2" ] || { echo "$3 stands $times times in $1, $2 are expected" >&2; return 1; }
}

page_begins() { # page, charts, column to sort by, direction, first row
    local dom=$LOGS/replay.dom profile
    profile=$(mktemp -d)
    timeout 120 "$(browser)" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$profile" \
        --dump-dom "file://$(realpath "$1")#sort=$3" 2>"$LOGS/browser.log" | tr '\n' ' ' >"$dom" || {
        cat "$LOGS/browser.log" >&2
        return 1
    }
    rm -rf "$profile"
    [ "$(grep -o '<svg ' "$dom" | wc -l)" -eq "$2" ] || { echo "$2 charts are expected in $dom" >&2; return 1; }
    [ "$(grep -o "aria-sort=\"$4\"" "$dom" | wc -l)" -eq 1 ] || { echo "no column is $4 in $dom" >&2; return 1; }
    grep -Eq "<tbody> *<tr>$5" "$dom" || { echo "$5 is not the first row of $dom" >&2; return 1; }
}

# The comparison's own tests, which take minutes to build: four modes of it run without --long.
compare_tests() {
    env -u CARGO_TARGET_DIR cargo test --release --manifest-path $COMPARE
}

compare_smoke() {
    env -u CARGO_TARGET_DIR cargo run --release --manifest-path $COMPARE -- --quick
}

# Every way to load takes part, and the floors are told. Their verdicts are for a machine that does nothing else.
compare_stampede() {
    local told=$LOGS/stampede.txt name
    env -u CARGO_TARGET_DIR cargo run --quiet --release --manifest-path $COMPARE -- stampede --readers 8 --rate 2000 \
        --seconds 0.5 --no-hits | tee "$told"
    for name in 'no protection' 'single flight' jitter 'early refresh' 'refresh ahead' 'stale while revalidate'; do
        grep -Eq "^  cachette: $name +[1-9]" "$told" || { echo "$name did not load" >&2; return 1; }
    done
    grep -q 'nobody waits' "$told"
}

# What a coalesced put costs, and what a stalled store makes the process hold.
compare_store() {
    env -u CARGO_TARGET_DIR cargo run --quiet --release --manifest-path $COMPARE -- store --only memory,cost --rounds 1
}

# Every way to share a Redis takes part, and what two levels serve is as fresh as they say.
compare_tiers() {
    local told=$LOGS/tiers.txt name
    env -u CARGO_TARGET_DIR cargo run --quiet --release --manifest-path $COMPARE -- tiers --workers 2 --seconds 1 | tee "$told"
    for name in 'cachette, tasks' 'cachette, threads' 'Redis alone' 'redis-rs, its cache' 'moka . Redis by hand'; do
        grep -Eq "^  $name +[0-9.]+ +[0-9.]+ " "$told" || { echo "$name did not read" >&2; return 1; }
    done
    [ "$(grep -Ec '^  cachette, .*staler than .* met$' "$told")" -eq 2 ]
}

# Every peer and policy on a trace made here, against what replay finds: 20,000 requests, the low ones of 1,000 keys more often.
compare_replay() {
    local trace=$LOGS/made.csv known=$LOGS/known.csv told=$LOGS/regret.txt name
    awk 'BEGIN { srand(1); for (i = 0; i < 20000; i++) print int(1000 * rand() ^ 3) }' >"$trace"
    cargo run --quiet --release --example replay -- "$trace" --policies opt,lru,fifo --capacity 100,300 --csv "$known"
    env -u CARGO_TARGET_DIR cargo run --quiet --release --manifest-path $COMPARE -- replay "$trace" --reference "$known" \
        --csv "$LOGS/regret.csv" | tee "$told"
    grep -q '^2 cells of 1 traces' "$told"
    for name in moka quick_cache tinyufo 'foyer s3-fifo' 'cachette adaptive' 'lru (reference)'; do
        grep -Eq "^  ${name//[()]/.} .* 2\$" "$told" || { echo "$name did not take part in both cells" >&2; return 1; }
    done
}

# The interpreter is some hundred times slower than the machine: it sees few cases, and those tests that check a whole
# structure after every step only if there is time.
miri() {
    local tests=(engine::budget engine::deadlines engine::index engine::pending engine::ring engine::slab the_picture_above
        engine::tests::conditions engine::tests::the_entry)
    if [ -n "$LONG" ]; then tests=(engine policy); fi
    RUSTFLAGS="--cfg cachette_lean" PROPTEST_CASES=${MIRI_CASES:-1} CACHETTE_TEST_OPS=${MIRI_OPS:-100} MIRIFLAGS=-Zmiri-disable-isolation \
        CARGO_TARGET_DIR="$TARGET/miri" some_tests miri cargo +nightly miri test --lib -- "${tests[@]}"
}

# What threads do to each other, with every access watched. The standard library is built anew, so that its own are watched too.
sanitizer() { # thread or address, rounds
    local name=$1 tests=(--test limbo --test linearizable --test reentry --test capacity --test load_stress)
    [ -n "$LONG" ] || tests=(--test limbo --test linearizable)
    # The thread sanitizer knows no fences: under `cachette_tsan` the engine does without.
    CACHETTE_ROUNDS=$2 RUSTFLAGS="-Zsanitizer=$name --cfg cachette_lean $([ "$name" = thread ] && echo --cfg cachette_tsan)" \
        CARGO_TARGET_DIR="$TARGET/$name" some_tests "$name" cargo +nightly test -Zbuild-std \
        --target x86_64-unknown-linux-gnu "${tests[@]}"
}

fuzz() { # seconds a target
    local target targets
    targets=$(cargo +nightly fuzz list)
    for target in $targets; do
        env -u CARGO_TARGET_DIR cargo +nightly fuzz run "$target" -- -max_total_time="$1" -timeout=10
    done
}

# Every mutant must be caught by a test, or be listed with its reason in tests/mutants.txt. The suite of laws is itself a test.
mutants() {
    local status=0 survivors=$LOGS/survivors.txt listed=$LOGS/listed.txt unlisted
    cargo mutants --all-features --output "$LOGS" --timeout 300 --file 'src/engine/**/*.rs' --file 'src/policy/**/*.rs' \
        --file 'src/load/**/*.rs' --file 'src/tier/**/*.rs' --file 'src/store/**/*.rs' --file src/time.rs --exclude 'src/engine/**/models.rs' \
        --exclude 'src/policy/laws*' --exclude 'src/policy/laws/**' --exclude 'src/tier/laws*' --exclude 'src/tier/laws/**' -- --lib --tests ||
        status=$?
    # 2: some were missed; 3: some ran out of time, which is caught too.
    case $status in
        0 | 2 | 3) ;;
        *) return $status ;;
    esac
    # Places move, so a mutant is known by its file and by what it changes.
    sed -E 's/^([^:]+):[0-9]+:[0-9]+:/\1:/' "$LOGS/mutants.out/missed.txt" | sort -u >"$survivors"
    sed -E '/^[[:space:]]*(#|$)/d' tests/mutants.txt | sort -u >"$listed"
    comm -13 "$survivors" "$listed" | sed 's/^/listed, but caught: /'
    unlisted=$(comm -23 "$survivors" "$listed")
    if [ -n "$unlisted" ]; then
        printf 'These mutants survive and are not listed:\n%s\n' "$unlisted" >&2
        return 1
    fi
}

# --- The run

tools
if component fmt rustfmt; then
    step "format" format
else
    missing "format" "rustfmt is not installed"
fi
if component clippy clippy; then
    step "lints" lints
    step "lints of benches/compare and fuzz" lints_outside
else
    missing "lints" "clippy is not installed"
fi
step "docs" docs
# The tests that start one are among the others, and fail without it too, unless ALLOW_SKIP=1 is set.
get_redis || missing "tests against Redis" "$REDIS is not installed"
step "tests" tests
step "doc tests" doc_tests
step "benchmarks, each once" bench_smoke
step "loom models" models
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    skip "no locked instruction in a hit" "the check knows x86-64 alone"
elif have objdump; then
    step "no locked instruction in a hit" locked_instructions
else
    missing "no locked instruction in a hit" "objdump is not installed"
fi
step "replay on a workload of its own" replay_smoke
step "replay, the same twice" replay_again
if get_browser; then
    step "replay, its page in a browser" replay_page
else
    skip "replay, its page in a browser" "Chromium is not installed"
fi
if [ -d "$SHARED/traces" ]; then
    step "replay, exact on the traces" replay_exact
else
    skip "replay, exact on the traces" "the traces are not here"
fi
step "comparison with other caches, quick" compare_smoke
step "comparison of ways to load, quick" compare_stampede
if have redis-server; then step "comparison of ways to share a Redis, quick" compare_tiers; fi
step "comparison of ways to write, quick" compare_store
step "comparison of hit ratios, on a trace of its own" compare_replay
if have rustup && { rustup run "$MINIMUM" rustc --version >/dev/null 2>&1 ||
    rustup toolchain install "$MINIMUM" --profile minimal >/dev/null 2>&1; }; then
    step "Rust $MINIMUM, the oldest supported" oldest
else
    skip "Rust $MINIMUM, the oldest supported" "that toolchain cannot be had"
fi
if nightly miri,rust-src; then
    step "Miri" miri
else
    skip "Miri" "nightly with miri and rust-src cannot be had"
fi
for name in thread address; do
    if [ "$(uname -sm)" = "Linux x86_64" ] && nightly rust-src; then
        step "$name sanitizer" sanitizer $name "$([ -n "$LONG" ] && echo 100 || echo 1)"
    else
        skip "$name sanitizer" "it needs Linux on x86-64, and nightly with rust-src"
    fi
done
if nightly "" && cargo_tool cargo-fuzz; then
    step "fuzzing" fuzz "$([ -n "$LONG" ] && echo 600 || echo 20)"
else
    skip "fuzzing" "nightly or cargo-fuzz cannot be had"
fi
if [ -n "$LONG" ]; then
    step "the comparison's own tests" compare_tests
    if cargo_tool cargo-mutants; then
        step "mutants" mutants
    else
        missing "mutants" "cargo-mutants cannot be had"
    fi
fi

printf '\n== Summary (%s min)\n' $(((SECONDS + 30) / 60))
printf '%s\n' "${SUMMARY[@]}"
exit $FAILED
