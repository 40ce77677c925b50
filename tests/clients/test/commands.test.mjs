// Pipelines, transactions, errors and iteration, through each client's own ways.

import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'

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

for (const kind of clients) {
  for (const protocol of kind.protocols) {
    describe(`${kind.name}, RESP${protocol}`, () => {
      let c, other

      before(async () => {
        c = await kind.connect({ port: server.port, protocol })
        other = await kind.connect({ port: server.port, protocol })
      })

      beforeEach(() => c.call('FLUSHALL'))

      after(async () => {
        await c.close()
        await other.close()
      })

      test('ten thousand commands at once, answered in order', async () => {
        const sets = Array.from({ length: 5000 }, (_, i) => ['SET', `k${i}`, i])
        const gets = sets.map(([, k]) => ['GET', k])
        const replies = kind.inOrder ? await c.all([...sets, ...gets]) : [...(await c.all(sets)), ...(await c.all(gets))]
        assert.equal(replies.length, 10_000)
        for (let i = 0; i < 5000; i++) assert.equal(replies[5000 + i], String(i))
      })

      test('a pipeline goes on after an error', async () => {
        const replies = await c.pipeline([['SET', 'k', 'abc'], ['INCR', 'k'], ['GET', 'k']])
        assert.equal(replies[0], 'OK')
        assert.match(replies[1].message, /not an integer or out of range/)
        assert.equal(replies[2], 'abc')
      })

      test('a transaction', async () => {
        const replies = await c.transaction([['SET', 'n', 41], ['INCR', 'n'], ['GET', 'n']])
        assert.deepEqual(replies.map(String), ['OK', '42', '42'])
      })

      test('an error inside a transaction is one of its replies', async () => {
        const replies = await c.transaction([['SET', 'k', 'abc'], ['INCR', 'k'], ['SET', 'after', 1]])
        assert.match(replies[1].message, /not an integer/)
        assert.equal(await c.call('GET', 'after'), '1')
      })

      test('a transaction that cannot be queued is thrown away', async () => {
        await assert.rejects(() => c.transaction([['SET', 'k', 1], ['SET', 'k'], ['SET', 'k', 2]]), /EXECABORT|wrong number of arguments/)
        assert.equal(await c.call('GET', 'k'), null)
      })

      test('a watched key that changes', async () => {
        // node-redis 5 and later watch through their own method.
        if (kind.name.startsWith('redis')) await c.raw.watch('k')
        else await c.call('WATCH', 'k')
        await other.call('SET', 'k', 'changed')
        assert.equal(await c.transaction([['SET', 'k', 'mine']]), null)
        assert.equal(await c.call('GET', 'k'), 'changed')
      })

      test('errors keep their words', async () => {
        await assert.rejects(() => c.call('NOSUCH', 'a'), /unknown command 'NOSUCH', with args beginning with: 'a'/i)
        await assert.rejects(() => c.call('GET'), /wrong number of arguments for 'get' command/)
        await assert.rejects(() => c.call('OBJECT', 'NOSUCH', 'k'), /unknown subcommand/i)
        await assert.rejects(() => c.call('SET', 'k', 'v', 'EX', 0), /invalid expire time in 'set' command/)
        assert.equal(String(await c.call('PING')), 'PONG')
      })

      test('expiry', async () => {
        await c.call('SET', 'k', 'v', 'PX', 1)
        for (let tries = 0; (await c.call('GET', 'k')) !== null; tries++) assert.ok(tries < 100_000)
        await c.call('SET', 'k', 'v', 'EX', 1000)
        assert.ok(Number(await c.call('TTL', 'k')) > 900)
      })

      test('iteration over all keys', async () => {
        const names = new Set(Array.from({ length: 2000 }, (_, i) => `key:${i}`))
        await c.call('MSET', ...[...names].flatMap((n) => [n, 1]))
        const found = new Set()
        if (c.raw.scanStream) {
          for await (const page of c.raw.scanStream({ match: 'key:*', count: 100 })) page.forEach((k) => found.add(k))
        } else if (c.raw.scanIterator) {
          for await (const page of c.raw.scanIterator({ MATCH: 'key:*', COUNT: 100 })) [].concat(page).forEach((k) => found.add(k))
        } else {
          let cursor = '0'
          do {
            const [next, keys] = await c.raw.customCommand(['SCAN', cursor, 'MATCH', 'key:*', 'COUNT', '100'])
            keys.forEach((k) => found.add(k))
            cursor = next
          } while (cursor !== '0')
        }
        assert.deepEqual(found, names)
      })
    })
  }
}

describe('typed methods', () => {
  const named = (name) => clients.find((c) => c.name === name)

  for (const name of ['ioredis', 'iovalkey', 'ioredis-6']) {
    const kind = named(name)
    if (!kind) continue
    test(name, async () => {
      const c = await kind.connect({ port: server.port })
      const r = c.raw
      await r.flushall()
      assert.equal(await r.set('k', 'v', 'EX', 100, 'NX'), 'OK')
      assert.equal(await r.set('k', 'v', 'NX'), null)
      assert.equal(await r.getex('k', 'PERSIST'), 'v')
      assert.equal(await r.getdel('k'), 'v')
      assert.deepEqual(await r.mget('k', 'x'), [null, null])
      assert.equal(await r.setbit('bits', 7, 1), 0)
      assert.equal(await r.bitcount('bits'), 1)
      assert.equal(await r.incrbyfloat('f', 0.5), '0.5')
      assert.equal(await r.copy('f', 'g'), 1)
      assert.match(await r.info(), /# Server/)
      assert.equal(await r.object('ENCODING', 'f'), 'embstr')
      c.close()
    })
  }

  for (const name of ['redis', 'redis-6']) {
    const kind = named(name)
    if (!kind) continue
    for (const protocol of kind.protocols) {
      test(`${name}, RESP${protocol}`, async () => {
        const c = await kind.connect({ port: server.port, protocol })
        const r = c.raw
        await r.flushAll()
        assert.equal(await r.set('k', 'v', { expiration: { type: 'EX', value: 100 }, condition: 'NX' }), 'OK')
        assert.equal(await r.set('k', 'v', { condition: 'NX' }), null)
        assert.equal(await r.getEx('k', { type: 'PERSIST' }), 'v')
        assert.equal(await r.getDel('k'), 'v')
        assert.deepEqual(await r.mGet(['k', 'x']), [null, null])
        assert.equal(await r.setBit('bits', 7, 1), 0)
        assert.equal(await r.bitCount('bits'), 1)
        assert.equal(await r.incrByFloat('f', 0.5), '0.5')
        assert.equal(await r.copy('f', 'g'), 1)
        assert.deepEqual({ ...(await r.configGet('databases')) }, { databases: '16' })
        assert.equal((await r.clientInfo()).resp, protocol)
        assert.ok((await r.commandCount()) > 80)
        assert.equal((await r.lcsIdx('f', 'g')).len, 3)
        c.close()
      })
    }
  }

  const glide = named('@valkey/valkey-glide')
  for (const protocol of glide?.protocols ?? []) {
    test(`${glide.name}, RESP${protocol}`, async () => {
      const c = await glide.connect({ port: server.port, protocol })
      const r = c.raw
      await r.flushall()
      assert.equal(await r.set('k', 'v', { conditionalSet: 'onlyIfDoesNotExist' }), 'OK')
      assert.equal(await r.getdel('k'), 'v')
      assert.deepEqual(await r.mget(['k', 'x']), [null, null])
      assert.equal(await r.setbit('bits', 7, 1), 0)
      assert.equal(await r.bitcount('bits'), 1)
      assert.equal(await r.incrByFloat('f', 0.5), 0.5)
      assert.equal(await r.copy('f', 'g'), true)
      assert.deepEqual(await r.configGet(['databases']), { databases: '16' })
      assert.match(await r.info(), /# Server/)
      c.close()
    })
  }
})
