#!/usr/bin/env bash
# Runs a package installer behind the mirrors, the proxy and the CA of whoever builds.
#
# usage: install.sh apt PACKAGE...      Debian packages
#        install.sh pip|uv ARGUMENT...  that program, as configured for pip
#
# Inside a build the configuration arrives as two optional secrets, pip_conf (a pip.conf) and ca (a PEM bundle); outside
# one, the user's own pip configuration counts.
set -euo pipefail

PATH=/opt/tools/bin:$PATH
secrets=/run/secrets
if [[ -s $secrets/ca ]]; then
    export SSL_CERT_FILE=$secrets/ca PIP_CERT=$secrets/ca
fi
if [[ -s $secrets/pip_conf ]]; then
    export PIP_CONFIG_FILE=$secrets/pip_conf
fi

setting() { # the values of one pip setting, on one line
    pip config list | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | sed 's/\\n/ /g' | tr '\n' ' '
}

case ${1:-} in
apt)
    # The archives live beside apt's own folder, which slim images empty after every install.
    archives=/var/cache/apt/kept
    mkdir -p "$archives/partial"
    options=(-qq -o "Dir::Cache::archives=$archives" -o APT::Sandbox::User=root
        -o "Acquire::https::CAInfo=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}")
    export DEBIAN_FRONTEND=noninteractive
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install --yes --no-install-recommends "${@:2}" >/dev/null
    find /var/log -type f -delete
    rm -rf /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old
    ;;
pip)
    exec "$@"
    ;;
uv)
    # uv does not read pip's configuration. Mirrors on the builder's own disk (file://) are not there inside a build.
    index=$(setting index-url)
    extra=$(setting extra-index-url | tr ' ' '\n' | grep -E '^https?://' | tr '\n' ' ' || true)
    hosts=$(setting trusted-host)
    ca=$(setting cert)
    ca=${ca% }
    [[ -z $index ]] || export UV_DEFAULT_INDEX="${index%% *}"
    [[ -z $extra ]] || export UV_INDEX="$extra"
    [[ -z $hosts ]] || export UV_INSECURE_HOST="$hosts"
    # Neither does it trust the CAs that this machine does. Of what pip is told, the file may be the builder's own, too.
    export UV_SYSTEM_CERTS=true
    [[ -n ${SSL_CERT_FILE:-} || ! -f $ca ]] || export SSL_CERT_FILE="$ca"
    # The cache is a mount, and links do not cross from it into the image.
    export UV_LINK_MODE=copy
    # pip's rule: the best version of all indexes; which file it is, the hashes decide.
    export UV_INDEX_STRATEGY=unsafe-best-match
    exec "$@"
    ;;
*)
    echo "install.sh: the first argument must be apt, pip or uv" >&2
    exit 2
    ;;
esac
