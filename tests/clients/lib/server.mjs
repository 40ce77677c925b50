// Starts the server under test on a free port with a directory of its own, and ends it by its pid.
//
//     LARDER_SERVER   the binary (default: build/larder-server); redis-server works too, which proves
//                     that a test expects what the clients' own peer does

import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const binary = process.env.LARDER_SERVER ?? join(root, 'build', 'larder-server')
const workers = process.env.LARDER_WORKERS ?? '4'
export const isRedis = basename(binary).startsWith('redis-')

const START_MS = 180_000

// Below the ports that the kernel gives to clients: one that tries to come back to a server that is being restarted could be
// given that server's own port. Test files run side by side, each in a process with ports of its own.
let nextPort = 4000 + (process.pid % 600) * 10

function isFree(port) {
  return new Promise((resolve) => {
    const probe = net.createServer()
    probe.on('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

export async function freePort() {
  for (;;) {
    const port = nextPort
    nextPort = port < 9999 ? port + 1 : 4000
    if (await isFree(port)) return port
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const s = net.connect(port, '127.0.0.1', () => s.write('PING\r\n'))
    s.on('data', (data) => {
      s.destroy()
      resolve(/^[+-]/.test(data.toString()))
    })
    s.on('error', () => resolve(false))
    s.on('close', () => resolve(false))
  })
}

export class Server {
  constructor(options = {}) {
    this.options = options
    this.dir = mkdtempSync(join(tmpdir(), 'larder-client-'))
    this.log = join(this.dir, 'server.out')
    this.socketPath = join(this.dir, 's')
  }

  async start() {
    this.port ??= await freePort()
    const own = isRedis ? { save: '', appendonly: 'no' } : { workers }
    const all = { port: this.port, bind: '127.0.0.1', dir: this.dir, unixsocket: this.socketPath, ...own, ...this.options }
    const args = Object.entries(all).flatMap(([name, value]) => ['--' + name, String(value)])
    const out = openSync(this.log, 'a')
    this.process = spawn(binary, args, { stdio: ['ignore', out, out] })
    this.ended = new Promise((resolve) => this.process.on('exit', (code, signal) => resolve(signal ?? code)))
    // A test run that is interrupted takes its servers along.
    this.orphan = () => this.process.kill('SIGKILL')
    process.on('exit', this.orphan)
    const deadline = Date.now() + START_MS
    while (!(await answers(this.port))) {
      if (this.process.exitCode !== null || Date.now() > deadline) {
        throw new Error(`${binary} does not answer:\n${this.output()}`)
      }
      await sleep(20)
    }
    return this
  }

  output() {
    return readFileSync(this.log, 'utf8')
  }

  // Stop the process but keep its port, for start() to use again.
  async kill(signal = 'SIGTERM') {
    this.process.kill(signal)
    const end = await this.ended
    process.off('exit', this.orphan)
    return end
  }

  async stop() {
    const end = this.process.exitCode ?? this.process.signalCode ?? (await this.kill())
    const output = this.output()
    rmSync(this.dir, { recursive: true, force: true })
    if (end !== 0 || /Sanitizer|runtime error:|CRASH REPORT/.test(output)) {
      throw new Error(`the server ended with ${end}:\n${output.slice(-20_000)}`)
    }
  }
}
