import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  excludedName,
  isContentsExcludedDirectory,
  parseRelationFileName,
  unloggedRelations,
} from '#src/postgres/exclusions.js'

test('excludedName() leaves out the names of basebackup.c at any depth', () => {
  const names = [
    'pgsql_tmp',
    'pgsql_tmp123.0',
    '.DS_Store',
    'postgresql.auto.conf.tmp',
    'current_logfiles.tmp',
    'backup_label',
    'tablespace_map',
    'backup_manifest',
    'postmaster.pid',
    'postmaster.opts',
    'pg_internal.init',
    'pg_internal.init.4711',
  ]
  for (const name of names) {
    assert.ok(excludedName(name), name)
    assert.ok(excludedName(name, 'base/5'), name)
  }
})

test('excludedName() leaves out signal files and remains in the top directory only', () => {
  const names = [
    'recovery.signal',
    'standby.signal',
    'backup_label.old',
    'tablespace_map.old',
    'backup_manifest.tmp',
    'recovery.conf',
    'recovery.done',
    'promote',
    'logrotate',
    'core',
    'core.4711',
  ]
  for (const name of names) {
    assert.ok(excludedName(name), name)
    assert.equal(excludedName(name, 'conf.d'), undefined, name)
  }
})

test('excludedName() keeps everything else', () => {
  const names = [
    'PG_VERSION',
    'pg_control',
    'postgresql.auto.conf',
    'backup_label2',
    'core.conf',
    'corefile',
    '16384',
    'log',
  ]
  for (const name of names) assert.equal(excludedName(name), undefined, name)
})

test('isContentsExcludedDirectory() goes by the base name', () => {
  const emptied = ['pg_stat_tmp', 'pg_replslot', 'pg_dynshmem', 'pg_notify', 'pg_serial', 'pg_snapshots', 'pg_subtrans']
  for (const name of emptied) {
    assert.ok(isContentsExcludedDirectory(name))
    assert.ok(isContentsExcludedDirectory(`some/where/${name}`))
  }
  for (const name of ['pg_wal', 'pg_xact', 'pg_multixact/members', 'pg_notify/below', 'log', 'pg_stat']) {
    assert.ok(!isContentsExcludedDirectory(name), name)
  }
})

test('parseRelationFileName() follows PostgreSQL 17’s grammar', () => {
  const cases: [string, number, string, number, boolean][] = [
    ['1', 1, 'main', 0, false],
    ['16384', 16384, 'main', 0, false],
    ['4294967295', 4294967295, 'main', 0, false],
    ['16384.1', 16384, 'main', 1, false],
    ['16384_fsm', 16384, 'fsm', 0, false],
    ['16384_vm.12', 16384, 'vm', 12, false],
    ['16384_init', 16384, 'init', 0, false],
    ['t3_16384', 16384, 'main', 0, true],
    ['t3_16384_fsm.2', 16384, 'fsm', 2, true],
  ]
  for (const [name, relfilenumber, fork, segment, temporary] of cases) {
    assert.deepEqual(parseRelationFileName(name), { relfilenumber, fork, segment, temporary }, name)
  }
  const others = [
    '',
    '0',
    '01',
    '4294967296',
    '16384.0',
    '16384.01',
    '16384.',
    '16384_',
    '16384_foo',
    '16384_main',
    '16384.1_fsm',
  ]
  others.push('t16384', 't_16384', 'T3_16384', 'pg_filenode.map', 'PG_VERSION', '16384 ', '16384\n', '-1')
  for (const name of others) assert.equal(parseRelationFileName(name), undefined, name)
})

test('unloggedRelations() finds the relations with an init fork', () => {
  const names = ['1', '1_init', '2', '2_fsm', '3_init.1', 't4_5_init', 'x_init', '6_initial']
  assert.deepEqual([...unloggedRelations(names)], [1, 3])
})
