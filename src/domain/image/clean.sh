# Takes away what makes a machine this one, and our traces. The last command on it: nobody can log in afterwards.
# $key is the body of the public key that we came with.
set -u
trap '' HUP PIPE
export PATH="$PATH:/usr/sbin:/sbin"

# The seed is written at the end of the service, which must not come after this.
systemctl stop systemd-random-seed 2>/dev/null
rm -f /var/lib/systemd/random-seed

# What cloud-init knows of this instance. What it is to do (seed, handlers) stays.
for part in instance instances data sem; do rm -rf "/var/lib/cloud/$part"; done
rm -f /var/log/cloud-init.log /var/log/cloud-init-output.log

rm -f /var/lib/dhcp/*.leases /var/lib/dhclient/*.lease* /var/lib/NetworkManager/*.lease
rm -rf /var/lib/amazon/ssm/ipc /var/lib/amazon/ssm/Vault

# Who was here, and what the machine said.
for log in /var/log/wtmp /var/log/btmp /var/log/lastlog /var/log/auth.log /var/log/secure; do
  if [ -f "$log" ]; then : >"$log"; fi
done
rm -rf /var/log/journal/*

rm -rf /var/lib/opsrun /etc/ssh/opsrun-new
homes=$(cut -d: -f6 /etc/passwd | sort -u)
for home in $homes; do
  case $home in /root | /home/* | "${HOME:-/root}") ;; *) continue ;; esac
  rm -rf "$home/.opsrun"
  rm -f "$home"/.*_history "$home/.lesshst" "$home/.viminfo" "$home/.wget-hsts"
  rm -f "$home/.ssh/known_hosts" "$home/.ssh/known_hosts.old"
done

# An empty file is filled at the next boot; systemd takes a missing one for a system that is read-only.
if [ -f /etc/machine-id ]; then : >/etc/machine-id; fi
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then rm -f /var/lib/dbus/machine-id; fi

# From here on nobody comes in.
rm -f /etc/ssh/ssh_host_*
for home in $homes; do
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
    if [ -f "$file" ] && grep -qF -- "$key" "$file"; then
      grep -vF -- "$key" "$file" >"$file.opsrun-new"
      if [ -s "$file.opsrun-new" ]; then cat "$file.opsrun-new" >"$file"; else rm -f "$file"; fi
      rm -f "$file.opsrun-new"
    fi
  done
done
sync
for home in $homes; do
  for file in "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2"; do
    if [ -f "$file" ] && grep -qF -- "$key" "$file"; then
      echo "the key is still in $file" >&2
      exit 1
    fi
  done
done
for file in /etc/ssh/ssh_host_*_key; do
  if [ -e "$file" ]; then echo "$file is still there" >&2; exit 1; fi
done
exit 0
