/*
 * media: the media types and annotations of images, as the OCI image specification and Docker's
 * schema 2 name them.
 */
#ifndef CRISP_IMAGE_FETCH_MEDIA_H
#define CRISP_IMAGE_FETCH_MEDIA_H

#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_OCI_FOREIGN     "application/vnd.oci.image.layer.nondistributable.v1.tar"
#define MEDIA_OCI_EMPTY       "application/vnd.oci.empty.v1+json"
#define MEDIA_DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar"
#define MEDIA_DOCKER_FOREIGN  "application/vnd.docker.image.rootfs.foreign.diff.tar"

#define MEDIA_REF_NAME        "org.opencontainers.image.ref.name"
#define MEDIA_CONTAINERD_NAME "io.containerd.image.name"

#endif
