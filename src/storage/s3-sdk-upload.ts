/** lib-storage, apart from the rest of the SDK since few commands need it: bundled together, so that both know the same commands. */
export { Upload } from '@aws-sdk/lib-storage'
