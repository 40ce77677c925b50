// The server goes away and comes back; the clients find their way without help.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { clients, closeAll } from '../lib/clients.mjs'
import { Server } from '../lib/server.mjs'

let server

before(async () => {
  server = await new Server().start()
})

after(async () => {
  await closeAll()
  await server.stop()
})

// Try until it works; a client may fail a command that was on its way when the line broke.
async function eventually(work, what) {
  const deadline = Date.now() + 180_000
  for (;;) {
    try {
      return await work()
    } catch (e) {
      if (Date.now() > deadline) throw new Error(`${what}: ${e.message}`)
      await sleep(30)
    }
  }
}

for (const kind of clients) {
  for (const protocol of kind.protocols) {
    describe(`${kind.name}, RESP${protocol}`, () => {
      test('after CLIENT KILL', async () => {
        const c = await kind.connect({ port: server.port, protocol, retry: true, db: 2, clientName: 'phoenix' })
        const killer = await kind.connect({ port: server.port, protocol })
        const before = Number(await c.call('CLIENT', 'ID'))
        assert.equal(Number(await killer.call('CLIENT', 'KILL', 'ID', before)), 1)
        const id = Number(await eventually(() => c.call('CLIENT', 'ID'), 'it never came back'))
        assert.notEqual(id, before)
        const line = String(await c.call('CLIENT', 'INFO'))
        assert.match(line, / db=2 /, 'in the database it had selected')
        assert.match(line, / name=phoenix /)
        assert.match(line, new RegExp(` resp=${protocol}`))
        await c.close()
        await killer.close()
      })

      test('after a restart of the server', async () => {
        const c = await kind.connect({ port: server.port, protocol, retry: true })
        await c.call('SET', 'k', 'v')
        await server.kill()
        const answer = eventually(() => c.call('PING'), 'it never came back')
        await sleep(100)
        await server.start()
        assert.equal(String(await answer), 'PONG')
        assert.equal(await c.call('GET', 'k'), null, 'data in memory only does not survive')
        assert.equal(await c.call('SET', 'k', 'v'), 'OK')
        await c.close()
      })
    })
  }
}
