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
directory that belongs to the user who runs PostgreSQL. The commands use the AWS command line; add --endpoint-url
(or set AWS_ENDPOINT_URL) for a store that is not AWS. Take the newest id in backups/ for the newest backup.

--- begin restore.sh ---
#!/bin/sh
set -eu
: "\${REPO:?}" "\${CLUSTER:?}" "\${BACKUP:?}" "\${TARGET:?}"
base="$REPO/$CLUSTER/base/$BACKUP"
aws s3 cp --quiet "$REPO/$CLUSTER/backups/$BACKUP.json" - > /dev/null   # no record: no backup, stop here
mkdir -p "$TARGET"
chmod 700 "$TARGET"
for archive in $(aws s3 ls "$base/" | awk '/[0-9]+\\.tar\\.zst$/ { print $4 }'); do
  aws s3 cp --quiet "$base/$archive" "$TARGET/.archive.zst"
  zstd -d -q -c "$TARGET/.archive.zst" > "$TARGET/.archive.tar"
  tar -x -f "$TARGET/.archive.tar" -C "$TARGET"
  rm "$TARGET/.archive.zst" "$TARGET/.archive.tar"
done
aws s3 cp --quiet "$base/backup_label" "$TARGET/backup_label"
if aws s3 ls "$base/tablespace_map" > /dev/null; then
  aws s3 cp --quiet "$base/tablespace_map" "$TARGET/tablespace_map"
fi
: > "$TARGET/recovery.signal"
--- end restore.sh ---

With tablespaces: move each directory $TARGET/pg_tblspc/<oid> to the location that tablespace_map names for it (change
the map first if that location has changed), and leave nothing in pg_tblspc; the server makes the links by the map.

WAL: restore_command must tell "not there" (exit 1) from every other failure (exit 200), else an outage of the store is
taken for the end of WAL and transactions are lost. Save this as restore-wal.sh:

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
case $message in
  *NoSuchKey*) exit 1 ;;
esac
printf '%s\\n' "$message" >&2
exit 200
--- end restore-wal.sh ---

Then write into $TARGET/postgresql.auto.conf, with full paths, and start the server:

  restore_command = '/path/to/restore-wal.sh BUCKET PREFIX/CLUSTER %f "%p"'
  archive_mode = off        # until this server has an archive of its own

If postgresql.conf is not in $TARGET, it lived elsewhere: see config/ of the backup.
`
