#!/bin/sh
# Copies one file to the first N hosts at once with scp.  put_scp.sh FARM FILE FOLDER N
for host in $(head -n "$4" "$1/hosts"); do
    scp -q -F "$1/ssh_config" "$2" "$host:$3/$host" &
done
wait
