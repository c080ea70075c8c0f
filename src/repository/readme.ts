/**
 * README.txt, written into every repository at its first use: how to bring a cluster back with nothing but an S3
 * client, zstd and tar. Its two scripts are run by a test, without any code of ours.
 */

/** The text. It holds nothing of one particular bucket, so that a copied repository stays right. */
export const README_TEXT = `PostgreSQL base backups and WAL, written by pgsluice
====================================================

Everything here can be read without pgsluice: with any S3 client, zstd and tar.

  <cluster>/cluster.json             which cluster: PostgreSQL major version and system identifier
  <cluster>/backups/<id>.json        one record a backup; a backup exists if and only if its record does
  <cluster>/base/<id>/NNNNN.tar.zst  its archives; members are paths relative to the data directory
  <cluster>/base/<id>/backup_label   byte for byte as the server returned it; tablespace_map where there are tablespaces
  <cluster>/base/<id>/config/        configuration files that lived outside the data directory
  <cluster>/base/<id>/files.jsonl.zst, objects.jsonl.zst   every file and object with its checksum
  <cluster>/wal/<timeline>/<log>/<segment>.zst, <cluster>/wal/<timeline>.history.zst   the WAL archive

Restore by hand
---------------
Set REPO to where this file is (s3://bucket/prefix), CLUSTER and BACKUP to names from the listing, TARGET to an empty
directory. Take the newest id in backups/ for the newest backup. Run everything as the user who runs PostgreSQL. The
commands use the AWS command line; set AWS_ENDPOINT_URL for a store that is not AWS. Save this as restore.sh:

--- begin restore.sh ---
#!/bin/sh
# REPO=s3://bucket/prefix CLUSTER=... BACKUP=... TARGET=/directory restore.sh
set -eu
umask 077
: "\${REPO:?}" "\${CLUSTER:?}" "\${BACKUP:?}" "\${TARGET:?}"
base="$REPO/$CLUSTER/base/$BACKUP"
work="$TARGET/.restore"
aws s3 cp --quiet "$REPO/$CLUSTER/backups/$BACKUP.json" - > /dev/null   # no record: no backup, stop here
mkdir -p "$work"
chmod 700 "$TARGET"
# Every step writes a file and nothing is piped: a shell sees only the last exit code of a pipe.
aws s3 cp --quiet "$base/objects.jsonl.zst" "$work/objects.zst"
zstd -d -q -f "$work/objects.zst" -o "$work/objects"
sed -n 's/^{"type":"object","name":"\\([^"]*\\)".*"sha256":"\\([0-9a-f]*\\)".*/\\2 \\1/p' "$work/objects" > "$work/names"
while read -r sha256 name; do
  case $name in *.tar.zst | backup_label | tablespace_map | backup_manifest) ;; *) continue ;; esac
  aws s3 cp --quiet "$base/$name" "$work/object" < /dev/null
  printf '%s  %s\\n' "$sha256" "$work/object" > "$work/expected"
  sha256sum -c "$work/expected" > /dev/null   # or: shasum -a 256 -c
  case $name in
    *.tar.zst)
      zstd -d -q -f "$work/object" -o "$work/tar"
      tar -x -p -f "$work/tar" -C "$TARGET"
      ;;
    *) cp "$work/object" "$TARGET/$name" ;;
  esac
done < "$work/names"
test -f "$TARGET/backup_label"
test -f "$TARGET/global/pg_control"
rm -r "$work"
: > "$TARGET/recovery.signal"
--- end restore.sh ---

With tablespaces: move each directory $TARGET/pg_tblspc/<oid> to the place that $TARGET/tablespace_map names for that
oid, which must not exist yet (mv "$TARGET/pg_tblspc/16401" /srv/fast); for another place change the map first. Leave
nothing in pg_tblspc: the server makes the links by the map.

WAL: restore_command must tell "not there" (exit 1) from every other failure (exit 200), else an outage of the store or
a mistyped name is taken for the end of WAL, and transactions are lost. Save this as restore-wal.sh, executable:

--- begin restore-wal.sh ---
#!/bin/sh
# restore-wal.sh BUCKET PREFIX/CLUSTER NAME DESTINATION
set -u
name=$3
case $name in
  *.history) key="$2/wal/$name.zst" ;;
  *) key="$2/wal/$(printf %.8s "$name")/$(printf %s "$name" | cut -c9-16)/$name.zst" ;;
esac
if message=$(aws s3api get-object --bucket "$1" --key "$key" "$4.zst" 2>&1 > /dev/null); then
  zstd -d -q -f "$4.zst" -o "$4.tmp" && rm -f "$4.zst" && mv "$4.tmp" "$4" && exit 0
  rm -f "$4.zst" "$4.tmp"
  exit 200
fi
rm -f "$4.zst"
absent() {
  # Only if what must be in the same place can be read.
  aws s3api get-object --bucket "$1" --key "$2/cluster.json" /dev/null > /dev/null || return 1
  case $name in *.history) return 0 ;; esac
  # A segment with later ones behind it is missing, which is not the end of WAL.
  later=$(aws s3api list-objects-v2 --bucket "$1" --prefix "$2/wal/$(printf %.8s "$name")/" --start-after "$key" \\
    --max-keys 1 --no-paginate --query 'Contents[0].Key' --output text) || return 1
  [ "$later" = None ] && return 0
  message="$name is missing, and $later is there"
  return 1
}
case $message in
  *NoSuchKey*) absent "$1" "$2" && exit 1 ;;
esac
printf '%s\\n' "$message" >&2
exit 200
--- end restore-wal.sh ---

Then add to $TARGET/postgresql.auto.conf, with full paths, and start the server. PREFIX/CLUSTER is CLUSTER alone where
there is no prefix. The server's environment must hold what the AWS command line needs.

  restore_command = '/path/to/restore-wal.sh BUCKET PREFIX/CLUSTER %f "%p"'
  archive_mode = off        # until this server has an archive of its own

If postgresql.conf is not in $TARGET, it lived elsewhere: see config/ of the backup.
`
