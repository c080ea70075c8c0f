/**
 * The S3 endpoint as a program: `s3-endpoint-process.js DIRECTORY BUCKET` keeps bodies in files below DIRECTORY, says its URL
 * in one line, and ends when its standard input does. For measurements that its own memory and time must not be part of.
 */
import { S3Endpoint } from './s3-endpoint.js'

const [directory = '', bucket = ''] = process.argv.slice(2)
const endpoint = await S3Endpoint.start({ directory })
endpoint.createBucket(bucket)
console.log(endpoint.url)
process.stdin.resume().on('end', () => void endpoint.close())
