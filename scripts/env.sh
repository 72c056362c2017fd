# Build environment shared by every script; sourced, never run.
# Everything that is downloaded or built lies under $IOTA_CACHE, outside the checkout,
# so that a second clone on the same machine starts warm.
IOTA_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export IOTA_ROOT
export IOTA_CACHE=${IOTA_CACHE:-$HOME/.cache/iota}
# Two target folders: the node's features must not leak into the workers' builds
# (one folder would hold both anyway), and either can build while the other does.
export IOTA_TARGET=${IOTA_TARGET:-$IOTA_CACHE/target}
export IOTA_TARGET_CHAIN=$IOTA_TARGET/chain
export IOTA_TARGET_WORK=$IOTA_TARGET/work

# Versions that the recipes below were checked with.
IOTA_TORCH_VERSION=2.11.0       # the libtorch that tch 0.24 binds
IOTA_MDBOOK_VERSION=0.5.4       # the mdBook that the pages were looked at with
IOTA_TRANSFORMERS_VERSION=5.23.0 # the transformers that loads an export; needs PyTorch 2.4 for its norms
IOTA_WASM_TOOLCHAIN=iota-wasm   # only used where `rustup target add` cannot be served

# What only tests and scripts/book use; `scripts/setup tests` puts it there.
export IOTA_MDBOOK=${IOTA_MDBOOK:-$IOTA_CACHE/mdbook-$IOTA_MDBOOK_VERSION/bin/mdbook}
export IOTA_EXPORT_PYTHON=${IOTA_EXPORT_PYTHON:-$IOTA_CACHE/transformers-$IOTA_TRANSFORMERS_VERSION-venv/bin/python}

export OPENSSL_NO_VENDOR=1
export WASM_BUILD_WORKSPACE_HINT=$IOTA_ROOT
if rustup toolchain list 2>/dev/null | grep -q "^$IOTA_WASM_TOOLCHAIN"; then
  export WASM_BUILD_TOOLCHAIN=$IOTA_WASM_TOOLCHAIN
fi
if [ -z "${LIBTORCH:-}" ] && [ -z "${LIBTORCH_USE_PYTORCH:-}" ]; then
  export LIBTORCH=$IOTA_CACHE/libtorch-$IOTA_TORCH_VERSION
fi
if [ -n "${LIBTORCH:-}" ]; then
  export LD_LIBRARY_PATH=$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

iota_say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
iota_die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The workers' crates. Every step names all of them: cargo unites features over the packages it is
# given, so that another selection would compile the same crates again.
IOTA_WORK_CRATES=(-p iota-protocol -p iota-compute -p iota-network -p iota-chain -p iota-service
  -p iota-worker -p iota-miner -p iota-validator -p iota-explorer -p iota-tests -p iota-lab)

# The chain's crates, for checks and tests. With iota-weights the pallet has its benchmarks, each of which
# is a test as well; `scripts/build` makes the node alone, without them.
IOTA_CHAIN_CRATES=(-p pallet-iota -p iota-runtime -p iota-node -p iota-weights)

# iota_cargo chain|work ARGS…: cargo with the target folder of that half of the workspace.
iota_cargo() {
  local half=$1; shift
  case $half in
    chain) CARGO_TARGET_DIR=$IOTA_TARGET_CHAIN cargo "$@" ;;
    work) CARGO_TARGET_DIR=$IOTA_TARGET_WORK cargo "$@" ;;
    *) iota_die "iota_cargo: unknown half '$half' (expected chain or work)" ;;
  esac
}
