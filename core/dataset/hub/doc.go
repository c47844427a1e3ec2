// Package hub fetches data sets and models from the Hugging Face hub into the
// cache that Python's huggingface_hub uses, laid out in the same way, so that
// either finds what the other has fetched:
//
//	HUB/<type>s--<owner>--<name>/
//	  refs/<revision>            the commit that a branch or tag stood for last
//	  trees/<commit>.json        the files of a commit, with sizes and hashes
//	  blobs/<hash>               contents, once each
//	  snapshots/<commit>/<path>  links into blobs
//	HUB/.locks/<type>s--<owner>--<name>/<hash>.lock
//
// Every file is checked against the hash that the hub lists for it (SHA-256 for
// large files, git's blob hash for small ones) before it gets its name. Several
// processes may fetch the same file at once: one does, the others wait.
//
// The access token goes to the hub's own host and nowhere else, and never into
// errors, progress or files.
package hub
