// What the machine tells the checker, and the checker the machine; see check.c.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif
void checkLaunch(const void *stacks, unsigned long long stackBytes, const void *dynamicShared, int threads, int shared);
void checkBlock(int x, int y);
// checkEnter: the code that runs now is a kernel's; checkLeave: it is not, and what it was.
void checkEnter(int thread);
int checkLeave(void);
void checkExit(int thread);
// Barriers that everybody has reached.
void checkBarrier(void);
void checkGroupBarrier(int group);
void checkWarpBarrier(int warp);
// checkMeets: a thread has reached an instruction that its warp executes together; all says
// that the threads that have returned are wanted as well.
void checkMeets(int thread, const char *what, int all, const char *file, int line, const void *from);
// A copy to shared memory; full: not of zeros.
void checkCopyBegins(int thread, unsigned long long to, unsigned long long from, int bytes, int full, const void *at);
void checkCopyEnds(int thread, unsigned long long to, unsigned long long from, int bytes, int full, const void *at);
// checkReads: the tensor memory unit reads for a thread.
void checkReads(int thread, unsigned long long from, int bytes, const void *at);
// emulateFail ends the launch; it does not return.
void emulateFail(const char *why);
// emulateNote fails the launch when it has ended.
void emulateNote(const char *why);
#ifdef __cplusplus
}
#endif
