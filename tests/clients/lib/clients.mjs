// The clients, each behind the few words that the tests of all of them need. Tests of what only
// one of them has use its own API (`raw`).
//
//     call(...args)          one command, sent as it stands
//     all([[...], ...])      several commands handed over at once, as a program would in a loop
//     transaction([[...]])   MULTI ... EXEC; null when a watched key has changed
//     close()

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const major = Number(process.versions.node.split('.')[0])

// The clients' own limits are for production; here a machine may be slow.
const PATIENCE_MS = 120_000

// In a list of commands ioredis takes names as its methods spell them.
const lower = ([name, ...args]) => [name.toLowerCase(), ...args]

// ioredis, its successor, and iovalkey, which sprang from it.
function ioredisLike(name, { minNode = 18, protocols = [2] } = {}) {
  return {
    name,
    minNode,
    protocols,
    inOrder: true,
    connect: async ({ port, path, password, db, clientName, protocol = 2, retry = false, onError } = {}) => {
      const { Redis } = require(name)
      const raw = new Redis({
        ...(path ? { path } : { port, host: '127.0.0.1' }),
        password, db, protocol, connectionName: clientName, lazyConnect: true,
        retryStrategy: retry ? () => 50 : () => null,
        maxRetriesPerRequest: retry ? null : 0, connectTimeout: PATIENCE_MS,
      })
      raw.on('error', onError ?? (() => {}))
      await raw.connect()
      return {
        raw,
        call: (...args) => raw.call(...args.map(String)),
        callBuffer: (...args) => raw.callBuffer(...args),
        all: (commands) => Promise.all(commands.map((c) => raw.call(...c.map(String)))),
        pipeline: async (commands) => (await raw.pipeline(commands.map(lower)).exec()).map(([error, value]) => error ?? value),
        transaction: async (commands) => {
          const replies = await raw.multi(commands.map(lower)).exec()
          return replies && replies.map(([error, value]) => error ?? value)
        },
        close: () => raw.disconnect(),
      }
    },
  }
}

function nodeRedis(name, { minNode = 18 } = {}) {
  return {
    name,
    minNode,
    protocols: [2, 3],
    inOrder: true,
    connect: async ({ port, path, password, db, clientName, protocol = 2, retry = false, onError } = {}) => {
      const { createClient, RESP_TYPES } = require(name)
      const raw = createClient({
        socket: {
          ...(path ? { path } : { port, host: '127.0.0.1' }),
          reconnectStrategy: retry ? () => 50 : false, connectTimeout: PATIENCE_MS,
        },
        commandOptions: { timeout: PATIENCE_MS },
        password, database: db, name: clientName, RESP: protocol,
      })
      raw.on('error', onError ?? (() => {}))
      await raw.connect()
      const buffers = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } }
      return {
        raw,
        call: (...args) => raw.sendCommand(args.map(String)),
        callBuffer: (...args) => raw.sendCommand(args, buffers),
        all: (commands) => Promise.all(commands.map((c) => raw.sendCommand(c.map(String)))),
        pipeline: (commands) => Promise.all(commands.map((c) => raw.sendCommand(c.map(String)).catch((e) => e))),
        transaction: async (commands) => {
          const multi = raw.multi()
          for (const c of commands) multi.addCommand(c.map(String))
          try {
            return await multi.exec()
          } catch (e) {
            if (e.constructor.name === 'WatchError') return null
            if (e.replies) return e.replies
            throw e
          }
        },
        close: () => raw.destroy(),
      }
    },
  }
}

function glide() {
  return {
    name: '@valkey/valkey-glide',
    minNode: 18,
    protocols: [2, 3],
    inOrder: false, // commands that are not awaited may overtake each other inside the client
    connect: async ({ port, password, db, clientName, protocol = 2 } = {}) => {
      const { GlideClient, ProtocolVersion, Decoder, Batch, RequestError } = require('@valkey/valkey-glide')
      const raw = await GlideClient.createClient({
        addresses: [{ host: '127.0.0.1', port }],
        protocol: protocol === 3 ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2,
        credentials: password && { password }, databaseId: db, clientName, requestTimeout: PATIENCE_MS, inflightRequestsLimit: 50_000,
        advancedConfiguration: { connectionTimeout: PATIENCE_MS },
      })
      const batch = (atomic, commands) => {
        const b = new Batch(atomic)
        for (const c of commands) b.customCommand(c.map(String))
        return raw.exec(b, false)
      }
      return {
        raw,
        call: (...args) => raw.customCommand(args.map(String)),
        callBuffer: (...args) => raw.customCommand(args, { decoder: Decoder.Bytes }),
        all: (commands) => Promise.all(commands.map((c) => raw.customCommand(c.map(String)))),
        pipeline: (commands) => batch(false, commands),
        transaction: (commands) => batch(true, commands),
        RequestError,
        close: () => raw.close(),
      }
    },
  }
}

const every = [
  ioredisLike('ioredis'),
  ioredisLike('iovalkey'),
  ioredisLike('ioredis-6', { minNode: 20, protocols: [2, 3] }),
  nodeRedis('redis'),
  nodeRedis('redis-6', { minNode: 20 }),
  glide(),
]

// A connection that a failed test has left open would keep the process alive.
const open = new Set()

function tracked(kind) {
  const connect = async (options) => {
    const c = await kind.connect(options)
    const close = () => open.delete(c) && c.close()
    const wrapped = { ...c, close }
    open.add(c)
    return wrapped
  }
  return { ...kind, connect }
}

export async function closeAll() {
  for (const c of open) await c.close()
  open.clear()
}

// LARDER_CLIENTS=new leaves out the ones that an older node has had its turn with.
export const clients = every
  .filter((c) => major >= c.minNode && (process.env.LARDER_CLIENTS !== 'new' || c.minNode >= 20))
  .map(tracked)
