/*
 * adopt: pulls that go on from before the daemon started.
 *
 * A crisp-image whose daemon is gone goes on with its layers. Who asks for the image again waits
 * for them instead of fetching them twice.
 */
#ifndef CRISP_IMAGE_ADOPT_H
#define CRISP_IMAGE_ADOPT_H

#include "base/clock.h"
#include "image/pull.h"

#define ADOPT_TIME     (35 * 60 * NSEC_PER_SEC) /* then it is killed; it should have ended before */
#define ADOPT_LOOK     NSEC_PER_SEC /* how often its layers are looked at for who waits */
#define ADOPT_PULL_MAX 64           /* staging folders taken over */

/*
 * Takes over the staging folders of this boot, each until its crisp-image ends: then the layers
 * that are whole are kept, and the folder goes. Others are left to store_clean, which must come
 * after. Once, before the first pull. Blocks on the disk; starts tasks.
 */
void puller_adopt(struct puller *puller);

#endif
