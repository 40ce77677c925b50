// ioredis's cluster client as a process, for tests in other languages: "set KEY VALUE" in, "ok" or what went wrong out.
//
//     node writer.mjs HOST:PORT...

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const { Cluster } = createRequire(import.meta.url)('ioredis')

const nodes = process.argv.slice(2).map((address) => {
  const at = address.lastIndexOf(':')
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) }
})
const cluster = new Cluster(nodes, {
  clusterRetryStrategy: () => 100,
  slotsRefreshInterval: 1000,
  redisOptions: { connectTimeout: 1000, commandTimeout: 1000 },
})
cluster.on('error', () => {})

// Commands that wait for a connection know no time limit of their own.
const late = (ms) => sleep(ms, null, { ref: false }).then(() => Promise.reject(new Error('no answer in time')))

for await (const line of createInterface({ input: process.stdin })) {
  const [, key, value] = line.split(' ')
  let answer = 'ok'
  try {
    await Promise.race([cluster.set(key, value), late(3000)])
  } catch (e) {
    answer = `error ${e.message.replaceAll('\n', ' ')}`
  }
  console.log(answer)
}
cluster.disconnect()
