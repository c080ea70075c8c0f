/** What check says to do about a store that refuses something. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { checkStore } from '#src/commands/check-store.js'
import type { Finding } from '#src/commands/findings.js'
import { makeSettings } from '#src/config/settings.js'
import { silent } from '#src/report.js'
import { S3Endpoint, useTestCredentials } from '../../support/s3-endpoint.js'

useTestCredentials()

describe('checkStore()', () => {
  let endpoint: S3Endpoint
  before(async () => {
    endpoint = await S3Endpoint.start()
    endpoint.createBucket('backups')
  })
  beforeEach(() => endpoint.clearFaults())
  after(() => endpoint.close())

  const checked = async (repository = 's3://backups/main'): Promise<Finding[]> => {
    const settings = makeSettings({ repository, endpoint: endpoint.url, region: 'us-east-1', 'max-attempts': 1 })
    const findings: Finding[] = []
    const store = await checkStore(settings, findings, { report: silent, signal: new AbortController().signal })
    store?.storage.close()
    return findings
  }

  for (const [operation, message, action, resource] of [
    ['PutObject', /^objects cannot be written/, 's3:PutObject', 'arn:aws:s3:::backups/main/*'],
    ['GetObject', /^objects cannot be read/, 's3:GetObject', 'arn:aws:s3:::backups/main/*'],
    ['ListObjectsV2', /^objects cannot be listed/, 's3:ListBucket', 'arn:aws:s3:::backups'],
  ] as const) {
    it(`has the statement for the policy where ${operation} is denied`, async () => {
      endpoint.fault({
        match: (request) => request.operation === operation,
        action: { status: 403, code: 'AccessDenied' },
      })
      const found = (await checked()).find((finding) => message.test(finding.message))
      assert.equal(found?.result, 'failure')
      const [, statement = ''] = /^Add this to the policy of these credentials: (.*)$/.exec(found.hint ?? '') ?? []
      assert.deepEqual(JSON.parse(statement), { Effect: 'Allow', Action: action, Resource: resource })
    })
  }

  it('has no statement where a policy is not what lacks', async () => {
    const found = (await checked('s3://elsewhere/main')).find(({ result }) => result === 'failure')
    assert.match(found?.message ?? '', /NoSuchBucket/)
    assert.match(found?.hint ?? '', /^Create the bucket/)
  })
})
