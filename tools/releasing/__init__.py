"""How packages are released; tools/release.py is the command line of it.

Two questions are answered from what is committed, never from memory: does the package still offer
what its last tag offered (`surface`, `differences`), and what does its changelog tell
(`changelog`). Together they say how far the version has to go (`versions`, `demand`); `plan` shows
that for all packages, `bump` writes it for one, `artifacts` builds what is uploaded and `tags`
checks the tag that a release is made from. Whatever is wrong becomes a `Refused`, before
anything is changed.
"""
