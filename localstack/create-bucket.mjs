/**
 * Creates buckets on the endpoint that the environment names, for trying pgsluice out:
 *
 *   AWS_ENDPOINT_URL_S3=http://127.0.0.1:4566 node localstack/create-bucket.mjs [NAME ...]
 *
 * A bucket that is there already is left as it is, so this can run any number of times.
 */
import { BucketAlreadyExists, BucketAlreadyOwnedByYou, CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'

if (process.env.AWS_ENDPOINT_URL_S3 === undefined) {
  // Without an endpoint the SDK would create the buckets at AWS.
  console.error('create-bucket: AWS_ENDPOINT_URL_S3 is not set')
  process.exit(2)
}

const names = process.argv.length > 2 ? process.argv.slice(2) : ['pgsluice']
const client = new S3Client({
  forcePathStyle: true,
  region: process.env.AWS_REGION ?? 'us-east-1',
  credentials: {
    accessKeyId: process.env.AWS_ACCESS_KEY_ID ?? 'test',
    secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY ?? 'test',
  },
})
try {
  for (const name of names) {
    try {
      await client.send(new CreateBucketCommand({ Bucket: name }))
    } catch (error) {
      if (!(error instanceof BucketAlreadyOwnedByYou || error instanceof BucketAlreadyExists)) throw error
    }
    console.log(`s3://${name}`)
  }
} finally {
  client.destroy()
}
