// Every client connects, in every protocol it speaks, and finds what it looks for.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'

import { clients, closeAll } from '../lib/clients.mjs'
import { Server, isRedis } from '../lib/server.mjs'

let server, locked

before(async () => {
  server = await new Server().start()
  locked = await new Server({ requirepass: 'sesame' }).start()
})

after(async () => {
  await closeAll()
  await server.stop()
  await locked.stop()
})

// What a client said about itself, from CLIENT LIST's line.
const fields = (line) => Object.fromEntries(String(line).trim().split(' ').map((f) => [f.slice(0, f.indexOf('=')), f.slice(f.indexOf('=') + 1)]))

for (const kind of clients) {
  for (const protocol of kind.protocols) {
    describe(`${kind.name}, RESP${protocol}`, () => {
      const connect = (options) => kind.connect({ port: server.port, protocol, ...options })

      test('says what it is and is understood', async () => {
        const c = await connect({ clientName: 'visitor' })
        assert.equal(String(await c.call('PING')), 'PONG')
        const me = fields(await c.call('CLIENT', 'INFO'))
        assert.equal(me.name, 'visitor')
        assert.equal(me.resp, String(protocol))
        if (!isRedis && kind.name !== 'ioredis' && kind.name !== 'iovalkey') assert.notEqual(me['lib-name'], '', 'CLIENT SETINFO went through')
        await c.close()
      })

      test('values of every byte', async () => {
        const c = await connect()
        const blob = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 256))
        assert.equal(String(await c.callBuffer('SET', 'blob', blob)), 'OK')
        assert.ok(blob.equals(await c.callBuffer('GET', 'blob')))
        assert.equal(await c.call('GET', 'nothing'), null)
        assert.equal(await c.call('SET', 'empty', ''), 'OK')
        assert.equal(await c.call('GET', 'empty'), '')
        assert.equal(Number(await c.call('STRLEN', 'blob')), blob.length)
        await c.close()
      })

      test('a database of its own', async () => {
        const c = await connect({ db: 3 })
        const zero = await connect()
        await c.call('SET', 'where', 'three')
        assert.equal(await zero.call('GET', 'where'), null)
        assert.equal(await c.call('GET', 'where'), 'three')
        assert.equal(fields(await c.call('CLIENT', 'INFO')).db, '3')
        await c.close()
        await zero.close()
      })

      test('a password', async () => {
        const c = await connect({ port: locked.port, password: 'sesame' })
        assert.equal(String(await c.call('PING')), 'PONG')
        await c.close()
      })

      test('a wrong password is refused in words', async () => {
        const heard = []
        await assert.rejects(async () => {
          const c = await connect({ port: locked.port, password: 'wrong', onError: (e) => heard.push(e.message) })
          await c.call('PING') // some connect first and hear of it then
        }, (e) => /WRONGPASS|NOAUTH|closed|AuthenticationFailed/i.test([e.message, ...heard].join(' ')))
      })

      if (!kind.name.includes('glide')) {
        test('a Unix socket', async () => {
          const c = await connect({ path: server.socketPath })
          assert.equal(String(await c.call('PING')), 'PONG')
          await c.close()
        })
      }

      test('numbers, arrays, maps', async () => {
        const c = await connect()
        await c.call('DEL', 'n')
        assert.equal(Number(await c.call('INCRBY', 'n', 4503599627370497)), 4503599627370497)
        assert.deepEqual(await c.call('MGET', 'n', 'nothing'), ['4503599627370497', null])
        const config = await c.call('CONFIG', 'GET', 'databases')
        const flat = Array.isArray(config) && typeof config[0] === 'object' ? config.map((e) => [e.key, e.value]).flat() : config instanceof Map ? [...config].flat() : Array.isArray(config) ? config : Object.entries(config).flat()
        assert.deepEqual(flat.map(String), ['databases', '16'])
        assert.match(String(await c.call('INFO', 'server')), /redis_version:7\./)
        await c.close()
      })
    })
  }
}
