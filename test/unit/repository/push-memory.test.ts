import { PushMemory } from '#src/repository/push-memory.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as untilSettled } from 'node:timers/promises'

const MiB = 1024 * 1024

test('PushMemory lets small files be in memory together, and a large one beside them', async () => {
  const memory = new PushMemory()
  for (const bytes of [8 * MiB, 1, 16 * MiB]) {
    const file = {}
    await memory.turn(file)
    memory.filled(file, bytes)
  }
})

test('PushMemory gives one turn after the other, and none while a large file is in memory', async () => {
  const memory = new PushMemory()
  const large = {}
  await memory.turn(large)
  const order: string[] = []
  const others = ['second', 'third'].map(async (name) => {
    const file = {}
    await memory.turn(file)
    order.push(name)
    return file
  })
  memory.filled(large, 8 * MiB + 1)
  memory.release({})
  await untilSettled()
  assert.deepEqual(order, [], 'what holds nothing releases nobody')
  memory.release(large)
  await untilSettled()
  assert.deepEqual(order, ['second'], 'nobody knows yet how large it is')
  const second = await others[0]!
  memory.filled(second, 16 * MiB)
  await untilSettled()
  assert.deepEqual(order, ['second'])
  memory.release(second)
  memory.release(second)
  await others[1]
  assert.deepEqual(order, ['second', 'third'])
})
