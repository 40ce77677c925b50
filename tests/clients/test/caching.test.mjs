// The examples of docs/caching.md for ioredis, run as they stand there.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { clients, closeAll } from '../lib/clients.mjs'
import { Server } from '../lib/server.mjs'

const text = readFileSync(new URL('../../../docs/caching.md', import.meta.url), 'utf8')
const blocks = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].filter(([, kind]) => kind === 'js').map(([, , body]) => body)
const AsyncFunction = (async () => {}).constructor
const load = async (key) => `the row of ${key}`

let server

before(async () => {
  server = await new Server().start()
})

after(async () => {
  await closeAll()
  await server.stop()
})

for (const kind of clients.filter((c) => c.name.startsWith('ioredis'))) {
  describe(`docs/caching.md, ${kind.name}`, () => {
    test('there are examples', () => assert.ok(blocks.length >= 6))

    test('each runs, one after the other', async () => {
      const c = await kind.connect({ port: server.port })
      await c.call('FLUSHALL')
      for (const body of blocks) {
        await new AsyncFunction('redis', 'load', 'sleep', 'assert', body)(c.raw, load, sleep, assert)
      }
      await c.close()
    })
  })
}
