#!/usr/bin/env bash
# Everything this project does, from one command. Needs Python 3.11 or newer, nothing else.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

readonly VENV=.venv PYTHON=.venv/bin/python LOGS=var/logs
service_pid=""

usage() {
  cat <<'TEXT'
./run.sh [key=value ...]         all of it: setup, foundation, books, simulate, serve, ask, study
./run.sh VERB [key=value ...]    one step

  setup        reads pyproject.toml and configs/constraints.txt; writes .venv
               (./run.sh setup EXTRA: with tensorboard, gguf, llama or test as well)
  foundation   reads the public corpus; writes var/foundation: the small edge and cloud model
  books        reads the demo world; writes var/NAME-SEED/sites: prompt books and place cards
  simulate     reads the edge model and the books; writes var/NAME-SEED/federations and the shelves
  federate     the same with real processes: SuperLink, edge services, SuperNodes, TLS, keys
  cloud        the cloud's side for sites on other hosts, until Ctrl-C
  site         FILE: one site on its own host, until Ctrl-C (configs/sites holds an example)
  edge         site.id=NAME: that site's edge service alone, for people's prompts, until Ctrl-C
  keys         SITE ...: makes var/pki, and the folder of keys that a site's host gets
  releases     list, show N, verify, rollback [N]: what the rounds made, and which one is current
  report       reads a federation's rounds; writes var/NAME-SEED/report: tables and a picture
  serve        reads the cloud model; answers on service.address and service.http until Ctrl-C
  tune-cloud   reads the cloud model and its corpus; writes var/NAME-SEED/cloud: its own release
  export-gguf  reads the cloud model; writes var/gguf/NAME-f32.gguf for llama.cpp
  ask          reads a site's shelf and card; needs the service running; adds to the site's ledger
  status       sites, cloud workers, links, releases, queues, the last minute; live until Ctrl-C
  profile      list, show, set, export, erase: what a site knows of a person, on its own disk
  ledger       adds up the sites' ledgers: bytes, characters, seconds by site and mode
  workflow     [FILE]: checks a workflow file, shows its steps; refuses one that leaks
  trace        --site S [REQUEST_ID|last]: what a request did, step by step
  intent       "TEXT" site=S: its intent and slots as JSON; jsonl=FILE for many
  trend        book=FILE or site=S: the next counts of a series; writes var/NAME-SEED/trend
  act          proposes what an intent asks of the network; a dry run unless apply=true
  study        makes, federates and measures every seed; writes var/NAME-SEED/study
  compare      compares edge, cloud, split, synergy and auto over links; writes var/NAME-SEED/compare
  orchestrate  plays bursty traces for real and as a model; writes var/NAME-SEED/orchestrate
  study-methods  compares all ways to combine on real text; writes var/NAME-SEED/study-methods
  insight      intents|trends|tasks|cache: measures the by-products on real counts and texts
  test         runs the tests (slow=true: also those that take minutes)
  bench        measures local training and aggregation; prints a table

Settings are key=value, for instance ./run.sh simulate rounds=8 sites=4; configs/base.yaml lists
them all. config=FILE names a YAML with several. ./run.sh VERB --help says more about a verb.
Exit codes: 0 done, 1 failed (the last line says why), 2 wrong use.
TEXT
}

main() {
  case "${1:-}" in
    -h | --help | help) usage ;;
    "" | *=*) everything "$@" ;;
    setup) setup_verb "${@:2}" ;;
    simulate)
      setup
      wants_help "${@:2}" || check_books "${@:2}"
      exec "$PYTHON" -m server "$@"
      ;;
    federate)
      setup
      wants_help "${@:2}" || federate_first "${@:2}"
      exec "$PYTHON" -m server "$@"
      ;;
    foundation | serve | cloud | keys | releases | report | tune-cloud)
      setup
      exec "$PYTHON" -m server "$@"
      ;;
    export-gguf)
      setup gguf
      exec "$PYTHON" -m server "$@"
      ;;
    books | ledger | status | workflow | trace | ask | profile | site | edge | intent | trend | act)
      setup
      exec "$PYTHON" -m clients "$@"
      ;;
    study) study "${@:2}" ;;
    compare) compare "${@:2}" ;;
    orchestrate) orchestrate "${@:2}" ;;
    study-methods) study_methods "${@:2}" ;;
    insight) insight "${@:2}" ;;
    test) tests "${@:2}" ;;
    bench) bench "${@:2}" ;;
    *)
      echo "There is no verb '$1'. ./run.sh --help lists them." >&2
      exit 2
      ;;
  esac
}

# --- the whole thing ------------------------------------------------------------------------------

everything() {
  heading 1 "setup: the Python environment in $VENV"
  setup
  echo "  ready"
  # A mistyped setting is refused now, not after minutes.
  "$PYTHON" -m clients seeds "$@" >/dev/null
  check_books "$@"
  heading 2 "foundation: small base models from the public corpus"
  step "$PYTHON" -m server foundation "$@"
  heading 3 "books: every site's private prompts and place card"
  step "$PYTHON" -m clients books "$@"
  heading 4 "simulate: the sites learn together through Flower"
  step "$PYTHON" -m server simulate "$@"
  heading 5 "serve: the cloud's model behind gRPC"
  # a free port: another service may be running; the steps after find it in the run folder
  start_service service.address=127.0.0.1:0 service.http=127.0.0.1:0 "$@"
  heading 6 "ask: three short prompts at three sites"
  step "$PYTHON" -m clients ask --demo "$@"
  heading 7 "study: what the federation brought"
  step "$PYTHON" -m clients study --one-run "$@"
  heading 8 "stop the service"
  stop_service
  echo "  stopped"
  printf '\nDone in %s s. ' "$SECONDS"
  printf 'Models: var/foundation. Books, releases, shelves, study: var/NAME-SEED (var/demo-0). '
  printf 'Logs: %s.\n' "$LOGS"
}

federate_first() { # what a federation on this machine starts from, made where it is missing
  local settings=()
  settings_of "$@"
  step "$PYTHON" -m server foundation ${settings[@]+"${settings[@]}"}
  step "$PYTHON" -m clients books ${settings[@]+"${settings[@]}"}
}

study() {
  setup
  if wants_help "$@"; then exec "$PYTHON" -m clients study --help; fi
  local seeds seed
  seeds=$("$PYTHON" -m clients seeds "$@")
  check_books "$@"
  step "$PYTHON" -m server foundation "$@"
  for seed in $seeds; do
    printf '\n== seed %s\n' "$seed"
    step "$PYTHON" -m clients books "$@" "seed=$seed"
    step "$PYTHON" -m server simulate "$@" "seed=$seed"
  done
  # Real text without answers needs no cloud.
  if [[ $("$PYTHON" -m clients answers "$@") == true ]]; then start_service service.address=127.0.0.1:0 service.http=none "$@"; fi
  step "$PYTHON" -m clients study "$@"
  stop_service
}

compare() {
  setup
  if wants_help "$@"; then exec "$PYTHON" -m clients compare --help; fi
  federate_missing "$@"
  start_service service.address=127.0.0.1:0 service.http=none "$@"
  step "$PYTHON" -m clients compare "$@"
  stop_service
}

orchestrate() {
  setup
  if wants_help "$@"; then exec "$PYTHON" -m clients orchestrate --help; fi
  federate_missing "$@" seeds=1
  step "$PYTHON" -m clients orchestrate "$@"
}

federate_missing() { # the seeds that have no federation yet, with the models they need
  local missing seed
  missing=$("$PYTHON" -m clients without-federation "$@")
  check_books "$@"
  step "$PYTHON" -m server foundation "$@"
  for seed in $missing; do
    printf '\n== seed %s\n' "$seed"
    step "$PYTHON" -m clients books "$@" "seed=$seed"
    step "$PYTHON" -m server simulate "$@" "seed=$seed"
  done
}

insight() { # insight WHAT [SETTING...]: its own settings, unless others are named
  local what=${1:-} config argument
  setup test # scikit-learn, for a baseline
  if [[ ! "$what" =~ ^(intents|trends|tasks|cache)$ ]]; then
    exec "$PYTHON" -m clients insight --help
  fi
  if wants_help "$@"; then exec "$PYTHON" -m clients insight "$what" --help; fi
  config=config=configs/insight_$what.yaml
  for argument in "${@:2}"; do
    [[ "$argument" == config=* ]] && config=$argument
  done
  # counts alone are replayed: that needs no model
  [[ "$what" == cache ]] || step "$PYTHON" -m server foundation "$config" "${@:2}"
  exec "$PYTHON" -m clients insight "$what" "$config" "${@:2}"
}

study_methods() { # its own settings, unless others are named
  local config=config=configs/study_methods.yaml argument
  setup
  if wants_help "$@"; then exec "$PYTHON" -m clients study-methods --help; fi
  for argument in "$@"; do
    [[ "$argument" == config=* ]] && config=$argument
  done
  check_books "$config" "$@"
  step "$PYTHON" -m server foundation "$config" "$@"
  step "$PYTHON" -m clients books "$config" "$@"
  exec "$PYTHON" -m clients study-methods "$config" "$@"
}

tests() {
  local chosen=() argument
  for argument in "$@"; do
    case "$argument" in
      slow=true) chosen+=(--slow) ;;
      slow=false) ;;
      -h | --help)
        usage
        return
        ;;
      *) chosen+=("$argument") ;; # a path or an option of pytest
    esac
  done
  setup test
  # Without these a test would see the settings of whoever calls.
  unset NETGPT_HOME FLWR_HOME RAY_ADDRESS
  OMP_NUM_THREADS=2 exec "$PYTHON" -m pytest ${chosen[@]+"${chosen[@]}"}
}

bench() {
  setup test
  exec "$PYTHON" -m tests.bench "$@"
}

# --- the service ----------------------------------------------------------------------------------

start_service() {
  local log="$LOGS/serve.log" waited=0
  mkdir -p "$LOGS"
  : >"$log"
  "$PYTHON" -m server serve "$@" >"$log" 2>&1 &
  service_pid=$!
  trap stop_service EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  until grep -q '^netgpt.v1 on ' "$log"; do
    if ! kill -0 "$service_pid" 2>/dev/null || ((waited++ > 1200)); then
      tail -n 5 "$log" >&2
      fail "The cloud service did not start; $log says why."
    fi
    sleep 0.1
  done
  sed -n 's/^netgpt.v1 on \|^openai on /  &/p' "$log"
}

stop_service() {
  [[ -n "$service_pid" ]] || return 0
  local pid=$service_pid
  service_pid=""
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid" || fail "The cloud service did not stop cleanly; $LOGS/serve.log says why."
}

# --- setup ----------------------------------------------------------------------------------------

setup_verb() {
  if wants_help "$@"; then
    usage
    return
  fi
  local extra=${1:-}
  if [[ $# -gt 1 ]] || [[ -n "$extra" && ! "$extra" =~ ^(tensorboard|gguf|llama|test)$ ]]; then
    echo "./run.sh setup takes nothing, or one of tensorboard, gguf, llama and test; found: $*" >&2
    exit 2
  fi
  setup "$extra"
  echo "$VENV is ready."
}

setup() { # setup [EXTRA]: make .venv, or find in a moment that it is made
  local stamp="$VENV/.netgpt-setup" wanted
  # The editable install holds this folder's path, so a moved folder is set up again.
  wanted=$(cat pyproject.toml configs/constraints.txt run.sh <(pwd) | cksum)
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
    make_environment
    echo "$wanted" >"$stamp"
    rm -f "$stamp"-*
  fi
  local extra=${1:-}
  if [[ -n "$extra" && "$(cat "$stamp-$extra" 2>/dev/null)" != "$wanted" ]]; then
    with_spinner "installing what '$extra' needs" pip_install --editable ".[$extra]"
    echo "$wanted" >"$stamp-$extra"
  fi
}

make_environment() {
  local python
  python=$(find_python)
  mkdir -p "$LOGS"
  if [[ ! -x "$PYTHON" ]]; then
    rm -rf "$VENV"
    "$python" -m venv "$VENV" >"$LOGS/setup.log" 2>&1 ||
      fail "$python cannot make a virtual environment (on Debian and Ubuntu: install python3-venv); $LOGS/setup.log says more."
  fi
  # torch by itself first: it is by far the largest, and the line then says what takes so long
  with_spinner "installing torch (the largest part)" pip_install torch==2.13.0
  with_spinner "installing the project and its libraries" pip_install --editable .
  keep_flower_offline
}

find_python() {
  local candidate
  for candidate in ${PYTHON_FOR_SETUP:-} python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed and was not found (python3 is $(python3 --version 2>&1 || true)). Install one, or name it: PYTHON_FOR_SETUP=/path/to/python3.11 ./run.sh"
}

pip_install() {
  "$PYTHON" -m pip install --disable-pip-version-check --no-input --constraint configs/constraints.txt "$@"
}

keep_flower_offline() {
  # `flwr run .` starts a SuperLink that would make a fresh environment, with torch, for every run.
  # Its only switch for that is an environment variable, and the command is Flower's, not ours. A
  # .pth line is read at the start of every Python of this environment and of no other, needs no
  # shell to be configured, and leaves a value that somebody set themselves. The other two: no
  # telemetry, and Ray on loopback only, where it would listen on all interfaces.
  local packages
  packages=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  {
    printf 'import os; d = os.environ.setdefault; '
    printf 'd("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"); '
    printf 'd("FLWR_TELEMETRY_ENABLED", "0"); d("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")\n'
  } >"$packages/netgpt_flower_offline.pth"
}

# --- small things ---------------------------------------------------------------------------------

heading() { printf '\n%s/8  %s\n' "$1" "$2"; }

fail() {
  echo "$*" >&2
  exit 1
}

step() { # run a step; its own last line says why it failed, this one says where
  "$@" || {
    local code=$?
    echo "./run.sh stopped: '${*:3:2}' failed with exit code $code." >&2
    exit "$code"
  }
}

check_books() { # a bad book is named before anything is trained
  local settings=()
  settings_of "$@"
  "$PYTHON" -m clients check ${settings[@]+"${settings[@]}"}
}

settings_of() { # settings_of ARGUMENT...: those that are key=value, into the caller's `settings`
  local argument
  for argument in "$@"; do
    [[ "$argument" == *=* && "$argument" != -* ]] && settings+=("$argument")
  done
  return 0
}

wants_help() {
  local argument
  for argument in "$@"; do
    [[ "$argument" == -h || "$argument" == --help ]] && return 0
  done
  return 1
}

with_spinner() { # with_spinner TEXT COMMAND...: its output goes to a log, which is shown on failure
  local text=$1 log="$LOGS/setup.log" started=$SECONDS pid marks='|/-\' turn=0
  shift
  mkdir -p "$LOGS"
  "$@" >>"$log" 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  [[ -t 1 ]] || echo "  $text ..."
  while kill -0 "$pid" 2>/dev/null; do
    [[ -t 1 ]] && printf '\r  %s %s (%ss)\033[K' "${marks:turn++%4:1}" "$text" "$((SECONDS - started))"
    sleep 0.2
  done
  [[ -t 1 ]] && printf '\r\033[K'
  trap - INT TERM
  wait "$pid" || {
    tail -n 15 "$log" >&2
    fail "Failed: $text. The whole log is $log."
  }
  echo "  $text: done in $((SECONDS - started)) s"
}

export TOKENIZERS_PARALLELISM=false FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export HF_HUB_DISABLE_TELEMETRY=1 PYTHONUNBUFFERED=1

main "$@"
